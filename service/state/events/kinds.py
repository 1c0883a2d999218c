"""Events, and what is counted of them for a comparison of two models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MAX_EVENTS_PER_USER = 1000
"""Of each user the last so many ratings are kept, and as many other events; what is kept of one person is bounded."""

RATING = "rating"
"""The type of an event that does not name one."""

Outcome = Literal["accepted", "duplicate", "suppressed"]
"""What became of an event."""

Domain = Literal["source", "target"]
"""Where an item is from."""

History = tuple[tuple[str, float], ...]
"""(item id, rating) pairs in the order in which they were taken."""

Counter = Literal["impressions", "clicks", "conversions"]


@dataclass(frozen=True, slots=True)
class Trial:
    """Where an event counts: for ``arm`` of the comparison ``experiment``.

    ``percent`` of users are assigned to the canary; ``bundle`` is the beginning of the id of the arm's bundle.
    """

    experiment: str
    arm: Literal["stable", "canary"]
    percent: float
    bundle: str


@dataclass(frozen=True, slots=True)
class ArmTotals:
    """What was counted for one arm. ``clickers`` and ``converters`` are those of its ``users`` who did so at all."""

    trial: Trial
    users: int
    impressions: int
    clicks: int
    conversions: int
    clickers: int
    converters: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a user did with an item. ``event_id`` is drawn by the sender and makes sending it twice harmless.

    ``rating``: None where none was given. ``recommendation_id`` and ``position`` (from 1): of the list it came of.
    ``at``: when it was, in seconds since 1970, if the sender said so. ``liked``: whether it counts in lists as a rating
    does. ``trial`` and ``counter``: what it counts for.
    """

    event_id: str
    user_id: str
    item_id: str
    rating: float | None
    domain: Domain = "source"
    type: str = RATING
    recommendation_id: str | None = None
    position: int | None = None
    at: int | None = None
    liked: bool = True
    trial: Trial | None = None
    counter: Counter | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is a rating and nothing more."""
        return (self.type, self.rating is None, self.recommendation_id, self.position, self.at) == (
            RATING,
            False,
            None,
            None,
            None,
        )


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """An event as it is kept. ``number`` grows with every event.

    ``at``: when it was, as the sender said; else the beginning of the hour in which it was taken, in seconds since
    1970; None where hours were not kept yet.
    """

    number: int
    user_id: str
    item_id: str
    rating: float | None
    domain: Domain
    at: int | None
    type: str = RATING
    recommendation_id: str | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """What one user did in one comparison."""

    impressions: int = 0
    clicks: int = 0
    conversions: int = 0

    def plus(self, other: Tally) -> Tally:
        """The sum."""
        return Tally(
            self.impressions + other.impressions, self.clicks + other.clicks, self.conversions + other.conversions
        )

    @property
    def totals(self) -> tuple[int, int, int, int, int, int]:
        """What the user adds to the totals of the arm, in the order of :class:`ArmTotals`."""
        seen = bool(self.impressions or self.clicks or self.conversions)
        return (
            int(seen),
            self.impressions,
            self.clicks,
            self.conversions,
            int(self.clicks > 0),
            int(self.conversions > 0),
        )

    def change_to(self, after: Tally) -> tuple[int, ...]:
        """What has to be added to the totals where the user did this, and now did ``after``."""
        return tuple(new - old for old, new in zip(self.totals, after.totals, strict=True))
