"""Answers of look-ups: users, items, histories, the map, recent activity."""

from __future__ import annotations

from pydantic import Field

from diffcdr.client.answers import Answer

Point = tuple[float, float]


class UserList(Answer):
    """Known user ids in byte order."""

    users: tuple[str, ...]
    bundle: str


class FoundItem(Answer):
    """An item of either domain; ``title`` is None where unknown."""

    item_id: str
    title: str | None = None


class FoundItems(Answer):
    """Items by id, then by title."""

    items: tuple[FoundItem, ...]
    bundle: str


class SimilarItem(FoundItem):
    """An item like another; ``similarity``: the cosine of their vectors, -1 to 1; ``rank`` counts from 1."""

    similarity: float
    rank: int


class SimilarItems(Answer):
    """Items like ``item`` of ``domain``, most alike first; none where nothing was learnt of it."""

    item: FoundItem
    items: tuple[SimilarItem, ...]
    domain: str
    bundle: str
    to: str | None = None
    """The domain of the similar items; None from an older service: that of the item."""
    empty_reason: str | None = None


class RatedItem(FoundItem):
    """An item of the source domain, and the user's rating."""

    rating: float


class History(Answer):
    """Source ratings of a user, best first; ``total`` there are. ``origin``: ``training``, or ``events`` since."""

    user_id: str
    items: tuple[RatedItem, ...]
    total: int
    origin: str
    bundle: str


class MapUser(Answer):
    """A user in several places, each (x, y) from -1 to 1; ``source`` is on a plane of its own.

    ``others``: where other models of the bundle's training carry the user, beside ``transferred``.
    """

    user_id: str
    source: Point
    transferred: Point
    target: Point
    others: dict[str, Point] = Field(default_factory=dict)


class MapItem(FoundItem):
    """An item on the plane of target vectors."""

    point: Point


class UserMap(Answer):
    """A sample of users known in both domains, and the most rated items."""

    users: tuple[MapUser, ...]
    items: tuple[MapItem, ...]
    bundle: str


class Place(Answer):
    """Where a user stands, None where the bundle has no such vector; ``near``: items, nearest first."""

    user_id: str
    on_map: bool
    source: Point | None
    transferred: Point | None
    target: Point | None
    near: tuple[FoundItem, ...]
    bundle: str


class Sample(Answer):
    """Totals since the start at one moment; ``latency`` counts requests up to each bound, the last one all."""

    at: float
    requests: int
    statuses: dict[str, int]
    latency: tuple[int, ...]
    batches: int
    batch_rows: int
    queue_rows: int
    shed_rows: int
    dropped_rows: int
    strategies: dict[str, int]
    fallback_reasons: dict[str, int]
    state_up: bool
    workers: int


class Activity(Answer):
    """Samples of the last 15 minutes, oldest first."""

    interval_seconds: float
    latency_bounds: tuple[float, ...]
    samples: tuple[Sample, ...]
