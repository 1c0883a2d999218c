"""Event types, and the counts of an experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MAX_EVENTS_PER_USER = 1000
"""Most ratings, and most other events, stored per user, so that the data of one user are bounded."""

RATING = "rating"
"""The type of an event that does not name one."""

Outcome = Literal["accepted", "duplicate", "suppressed"]
"""The outcome of adding an event."""

Domain = Literal["source", "target"]
"""The domain of an item."""

History = tuple[tuple[str, float], ...]
"""(item id, rating) pairs in the order in which they were stored."""

Counter = Literal["impressions", "clicks", "conversions"]


@dataclass(frozen=True, slots=True)
class Trial:
    """What an event counts for: ``arm`` of ``experiment``.

    ``percent``: of users, assigned to the canary; ``bundle``: the first characters of the id of the arm's bundle.
    """

    experiment: str
    arm: Literal["stable", "canary"]
    percent: float
    bundle: str


@dataclass(frozen=True, slots=True)
class ArmTotals:
    """The counts of one arm. ``clickers`` and ``converters``: users with at least one click or conversion."""

    trial: Trial
    users: int
    impressions: int
    clicks: int
    conversions: int
    clickers: int
    converters: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a user did with an item. The sender chooses ``event_id``, so that sending twice is harmless.

    ``rating``: None if none was given. ``recommendation_id`` and ``position`` (from 1): the list that led to it.
    ``at``: when it happened, in seconds since 1970, if the sender said so. ``liked``: whether it counts in lists like a
    rating. ``trial`` and ``counter``: the count that it adds to.
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
        """Whether it is a rating without further fields."""
        return (self.type, self.rating is None, self.recommendation_id, self.position, self.at) == (
            RATING,
            False,
            None,
            None,
            None,
        )


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """An event as it is stored. ``number`` grows with every event.

    ``at``: when it happened, as the sender said; else the beginning of the hour in which it was stored, in seconds
    since 1970; None from before hours were recorded.
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
    """The counts of one user in one experiment."""

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
        """The user's contribution to the totals of the arm, in the order of :class:`ArmTotals`."""
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
        """The change of the totals when the user's counts change from this to ``after``."""
        return tuple(new - old for old, new in zip(self.totals, after.totals, strict=True))
