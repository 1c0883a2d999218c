"""Answers. Fields that a newer service adds are let pass, so that it can be deployed before its clients."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import httpx2 as httpx
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """What every answer keeps to."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    @classmethod
    def read(cls, response: httpx.Response) -> Self:
        """From the body of ``response``."""
        return cls.model_validate_json(response.content)


class SourceShare(Answer):
    """A source rating that spoke for an item, and how much of the score comes from it."""

    item_id: str
    rating: float
    share: float
    title: str | None = None


class Explanation(Answer):
    """What a score is the sum of: the shares of ``sources``, most first, and all other members."""

    sources: tuple[SourceShare, ...]
    other_sources: float
    target_ratings: float
    base: float
    rest: float


class Item(Answer):
    """One recommended item; ``rank`` counts from 1, ``title`` is None where unknown.

    ``explanation``: where asked for, unless ``unexplained_reason`` of the list says why not.
    """

    item_id: str
    score: float
    rank: int
    title: str | None = None
    explanation: Explanation | None = None


class RecommendationList(Answer):
    """A ranked list, best first; ``strategy`` is who spoke, ``fallback_reason`` why it had to be the popular list.

    ``recommendation_id``: names the list in events; empty from an older service.
    """

    items: tuple[Item, ...]
    strategy: str
    fallback_reason: str | None
    bundle: str
    request_id: str
    unexplained_reason: str | None = None
    recommendation_id: str = ""


class LineError(Answer):
    """Why one user of a batch got no list."""

    code: str
    status: int
    detail: str


class BatchLine(Answer):
    """The list of one user of a batch, or its ``error``; ``index`` counts the users of the request from 0."""

    index: int
    user_id: str | None
    items: tuple[Item, ...] = ()
    strategy: str | None = None
    fallback_reason: str | None = None
    unexplained_reason: str | None = None
    bundle: str | None = None
    recommendation_id: str | None = None
    error: LineError | None = None


class ItemList(Answer):
    """The most rated items, most first."""

    items: tuple[Item, ...]
    bundle: str
    recommendation_id: str = ""


class RejectedEvent(Answer):
    """A rating that is not remembered: ``index`` in the request, from 0, and why."""

    index: int
    event_id: str
    code: str


class EventsResult(Answer):
    """What became of ratings: remembered now, remembered before, or not at all."""

    accepted: int
    duplicates: int
    rejected: tuple[RejectedEvent, ...]
    request_id: str


class ErasureReceipt(Answer):
    """Proof that a person is forgotten; the same for every repetition."""

    receipt: str
    erased_at: str


class ModelSummary(Answer):
    """A loaded bundle. ``metrics[scope][model][metric]``, against the baselines on the same held-out users.

    ``standard_errors``: of those that have one, by the same keys; empty in older bundles.
    """

    id: str
    name: str = ""
    state: str
    model: str
    preset: str
    device: str
    created_at: datetime
    loaded_at: datetime
    counts: dict[str, int]
    metrics: dict[str, dict[str, dict[str, float]]]
    provider: str = ""
    provider_version: str = ""
    search_device: str = ""
    standard_errors: dict[str, dict[str, dict[str, float]]] = Field(default_factory=dict)


class ShadowShare(Answer):
    """Shadow traffic: ``model`` also gets ``percent`` of the active model's requests."""

    model: str
    percent: float


class TrafficSplit(Answer):
    """``percent`` of users, by a hash of their id with ``salt``, are answered by the model ``canary``."""

    canary: str | None = None
    percent: float = 0.0
    salt: str = ""
    shadow: ShadowShare | None = None


class ModelsResult(Answer):
    """Every loaded bundle, the active one first."""

    models: tuple[ModelSummary, ...]
    traffic: TrafficSplit


class Readiness(Answer):
    """That the service wants traffic, the state of each part, and the stable bundle of the worker that answered."""

    status: str
    components: dict[str, str]
    bundle: str
    device: str
    provider: str = ""
    provider_version: str = ""
    search_device: str = ""


class _Vector(Answer):
    found: bool
    vector: str | None


class _Vectors(Answer):
    embeddings: tuple[_Vector, ...]
    dim: int
    bundle: str
    request_id: str


@dataclass(frozen=True)
class Embeddings:
    """Target vectors, float32 [B, dim], in the order of the request; zeros where ``found``, bool [B], is False."""

    vectors: npt.NDArray[np.float32]
    found: npt.NDArray[np.bool_]
    bundle: str
    request_id: str

    @classmethod
    def read(cls, response: httpx.Response) -> Self:
        """From the body of ``response``, asked for with ``encoding=base64``."""
        body = _Vectors.model_validate_json(response.content)
        vectors = np.zeros((len(body.embeddings), body.dim), dtype=np.float32)
        for row, entry in zip(vectors, body.embeddings, strict=True):
            if entry.vector is not None:
                row[:] = np.frombuffer(base64.b64decode(entry.vector), dtype="<f4")
        found = np.array([entry.found for entry in body.embeddings], dtype=np.bool_)
        return cls(vectors, found, body.bundle, body.request_id)


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
    """Items like ``item``, of the same ``domain``, most alike first; none where nothing was learnt of it."""

    item: FoundItem
    items: tuple[SimilarItem, ...]
    domain: str
    bundle: str


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
