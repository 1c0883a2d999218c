"""What events that are no ratings say of a liking: a weight for each type, from 0 (nothing) to 1 (the best rating)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from diffcdr.errors import InputError

RATING = "rating"
BUILT_IN: Mapping[str, float] = {"impression": 0.0, "click": 0.0, "purchase": 1.0}
TYPE_PATTERN = "^[a-z][a-z0-9_.-]{0,31}$"


@dataclass(frozen=True)
class EventWeights:
    """``weights[type]`` in [0, 1], of every type that there is but ``rating``, whose events carry their own."""

    weights: Mapping[str, float]

    @classmethod
    def parse(cls, text: str, *, name: str) -> EventWeights:
        """The built-in types, with what ``text`` says: ``TYPE=WEIGHT``, separated by commas.

        Raises:
            InputError: it does not read so; the message calls it ``name``.
        """
        weights = dict(BUILT_IN)
        for part in filter(None, (part.strip() for part in text.split(","))):
            kind, equals, number = (piece.strip() for piece in part.partition("="))
            if not equals or not re.match(TYPE_PATTERN, kind):
                raise InputError(f"{name}: {part!r} is not a TYPE=WEIGHT, such as click=0.4")
            if kind == RATING:
                raise InputError(f"{name}: {RATING} takes no weight, as a rating has a value of its own; leave it out")
            try:
                weight = float(number)
            except ValueError:
                weight = -1.0
            if not 0.0 <= weight <= 1.0:
                raise InputError(f"{name}: the weight of {kind} is {number!r}, and must be a number from 0 to 1")
            weights[kind] = weight
        return cls(weights)

    @property
    def types(self) -> list[str]:
        """Every type, ``rating`` first."""
        return [RATING, *sorted(self.weights)]

    def ratings(self, rating_range: tuple[float, float] | None) -> dict[str, float]:
        """What an event of each type counts as that has a weight above 0 and no rating: so far up the scale.

        A domain without a scale (None) is one where which items were liked counts, and not how much.
        """
        lowest, highest = rating_range or (0.0, 1.0)
        return {kind: lowest + weight * (highest - lowest) for kind, weight in self.weights.items() if weight > 0}
