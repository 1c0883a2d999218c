"""Answers with lists, vectors and receipts. Unknown fields are ignored: services may be newer than clients."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Self

import httpx2 as httpx
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """The base of all answers."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    @classmethod
    def read(cls, response: httpx.Response) -> Self:
        """From the body of ``response``."""
        return cls.model_validate_json(response.content)


class SourceShare(Answer):
    """A source rating that contributed to an item's score, and its share."""

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
    """A ranked list, best first, with its ``strategy``; ``fallback_reason`` says why it is the popular list.

    ``recommendation_id``: send it with events about this list; empty from an older service.
    """

    items: tuple[Item, ...]
    strategy: str
    fallback_reason: str | None
    bundle: str
    request_id: str
    unexplained_reason: str | None = None
    empty_reason: str | None = None
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
    empty_reason: str | None = None
    bundle: str | None = None
    recommendation_id: str | None = None
    error: LineError | None = None


class ItemList(Answer):
    """The most rated items, most first."""

    items: tuple[Item, ...]
    bundle: str
    empty_reason: str | None = None
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
