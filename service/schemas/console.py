"""Bodies of look-ups: ids, titles, histories, the map, and recent activity."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from diffcdr.bundle.ids import MAX_ID_BYTES
from service.schemas.base import WHOLE, Body, ModelName

MAX_FOUND = 100
"""Most ids or items that one look-up answers with."""
MAX_HISTORY = 1000
"""Most ratings that one look at a history answers with."""

Point = Annotated[tuple[float, float], Field(description="(x, y), each from -1 to 1.")]


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: ModelName = None


class ModelParameters(_Parameters):
    """Which bundle is looked at."""


class UsersParameters(_Parameters):
    """Whose ids are wanted."""

    prefix: Annotated[str, Field(max_length=MAX_ID_BYTES, description="How the ids begin.", examples=["u0004"])] = ""
    limit: Annotated[int, Field(ge=1, le=MAX_FOUND), WHOLE] = 20


class ItemsParameters(_Parameters):
    """Which items are wanted."""

    domain: Literal["source", "target"] = "target"
    q: Annotated[
        str,
        Field(max_length=MAX_ID_BYTES, description="Beginning of the id or part of the title.", examples=["s0000"]),
    ] = ""
    limit: Annotated[int, Field(ge=1, le=MAX_FOUND), WHOLE] = 20


class HistoryParameters(_Parameters):
    """How much of the history is wanted."""

    limit: Annotated[int, Field(ge=1, le=MAX_HISTORY), WHOLE] = 50


class UsersAnswer(Body):
    """Known user ids in byte order, without users who opted out or were erased."""

    users: list[str]
    bundle: str


class FoundItem(Body):
    """An item of either domain."""

    item_id: str
    title: Annotated[str | None, Field(description="Left out where unknown.")] = None


class ItemsAnswer(Body):
    """Items by id, then by title, each in id order."""

    items: list[FoundItem]
    bundle: str


class RatedItem(FoundItem):
    """An item of the source domain, and the user's rating."""

    rating: float


class HistoryAnswer(Body):
    """What a user rated in the source domain, best first."""

    user_id: str
    items: list[RatedItem]
    total: Annotated[int, Field(ge=0, description="Number of ratings, shown or not.")]
    origin: Annotated[Literal["training", "events"], Field(description="`events`: rated since the training.")]
    bundle: str


class MapUser(Body):
    """A user of the sample: positions of the source, transferred and own target vector."""

    user_id: str
    source: Point
    transferred: Point
    target: Point
    others: Annotated[
        dict[str, Point],
        Field(description="Positions from other models of the training, on the plane of `transferred`."),
    ]


class MapItem(FoundItem):
    """One of the most rated items, on the plane of `transferred` and `target`."""

    point: Point


class MapAnswer(Body):
    """A sample of users known in both domains, and items, in two dimensions; `source` has its own plane."""

    users: list[MapUser]
    items: list[MapItem]
    bundle: str


class PlaceAnswer(Body):
    """A user's positions; null if the bundle has no such vector."""

    user_id: str
    on_map: Annotated[bool, Field(description="False: placed between the most similar users that are.")]
    source: Point | None
    transferred: Point | None
    target: Point | None
    near: Annotated[list[FoundItem], Field(description="The most similar items of the map, nearest first.")]
    bundle: str


class Sample(Body):
    """Totals since the start; the difference of two samples is what happened between them."""

    at: Annotated[float, Field(description="Seconds since 1970.")]
    requests: Annotated[int, Field(description="Calls of /v1 for lists and vectors, and calls that send events.")]
    statuses: Annotated[dict[str, int], Field(description="The same by class of status, such as `2xx`.")]
    latency: Annotated[list[int], Field(description="The same at most `latency_bounds` long, cumulative.")]
    batches: int
    batch_rows: int
    queue_rows: Annotated[int, Field(description="Waiting at this moment.")]
    shed_rows: int
    dropped_rows: int
    strategies: dict[str, int]
    fallback_reasons: dict[str, int]
    state_up: bool
    workers: int


class ActivityAnswer(Body):
    """Samples of /metrics over the last 15 minutes, oldest first; the last one is taken now."""

    interval_seconds: float
    latency_bounds: Annotated[
        list[float], Field(description="Seconds; there is one more count than bounds, for all requests.")
    ]
    samples: list[Sample]
