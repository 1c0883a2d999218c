"""Target vectors of users and of source vectors."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from fastapi import APIRouter, Request, Response

from service.bodies.openapi import reference, request_body
from service.bodies.requests import JSON, read_json
from service.bodies.responses import state_away, vectors_away
from service.bundles.registry import Model
from service.components import Runtime, runtime_of
from service.edge.problems import FieldError, Problem, responses
from service.edge.server_timing import timing_headers
from service.schemas import EmbeddingsAnswer, EmbeddingsRequest

router = APIRouter(tags=["embeddings"])

NUMBERS_AT_ONCE = 10_000
"""So many are written, in some milliseconds, before other requests get their turn on the event loop."""

Vectors = tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]


@router.post(
    "/v1/embeddings",
    summary="Transfer users or source vectors to the target domain",
    response_class=Response,
    responses={
        200: {"model": EmbeddingsAnswer},
        **responses(
            "unauthenticated",
            "forbidden",
            "malformed_json",
            "model_unknown",
            "body_too_large",
            "unsupported_media_type",
            "invalid_request",
            "internal_error",
            "overloaded",
            "state_unavailable",
            "deadline_exceeded",
        ),
    },
    openapi_extra=request_body((JSON, reference("EmbeddingsRequest"))),
)
async def embed(request: Request) -> Response:
    """Target vectors for up to 1,024 user ids or source vectors; an unknown user has `found` false and vector null.

    Warm users have their stored target vector, others their transferred source vector.
    """
    runtime = runtime_of(request)
    wanted = await read_json(request, EmbeddingsRequest, limit=runtime.settings.max_bulk_body_bytes)
    model = runtime.registry.lineup.choose(wanted.model, None)
    timed = await runtime.batcher.compute(
        model.recommender,
        _task(wanted, model, given=await _stored(runtime, wanted, model)),
        rows=len(wanted.user_ids or wanted.vectors or ()),
        timeout=(wanted.timeout_ms or runtime.settings.timeout_ms) / 1000,
    )
    vectors, found = timed.result
    if wanted.user_ids is not None:
        if not await runtime.guard.refresh():
            raise state_away()
        found = found & np.array([runtime.guard.allows(user_id) for user_id in wanted.user_ids])
    entries = _entries(vectors, found, user_ids=wanted.user_ids, as_base64=wanted.encoding == "base64")
    content = {
        "dim": vectors.shape[1],
        "encoding": wanted.encoding,
        "bundle": model.id,
        "request_id": request.scope["state"]["request_id"],
    }
    body = await _written(entries, content)
    return Response(body, media_type=JSON, headers=timing_headers(request, timed))


async def _written(entries: Iterable[Mapping[str, Any]], content: Mapping[str, Any]) -> bytes:
    """``content`` and before it ``entries``, as JSON: thousands of numbers are not written in one go."""
    texts: list[bytes] = []
    numbers = 0
    for entry in entries:
        texts.append(orjson.dumps(entry, option=orjson.OPT_SERIALIZE_NUMPY))
        numbers += content["dim"]
        if numbers > NUMBERS_AT_ONCE:
            await asyncio.sleep(0)
            numbers = 0
    return b'{"embeddings":[%b],%b' % (b",".join(texts), orjson.dumps(content)[1:])


async def _stored(runtime: Runtime, wanted: EmbeddingsRequest, model: Model) -> Mapping[str, npt.NDArray[np.float32]]:
    """Source vectors that are kept outside of the bundle. Raises Problem 503 where these cannot be read."""
    if runtime.vectors is None or wanted.user_ids is None:
        return {}
    found = await runtime.vectors.find(model.id, set(wanted.user_ids), dim=model.manifest.transfer.source_dim)
    if not found.complete:
        raise vectors_away()
    return found.vectors


def _task(
    wanted: EmbeddingsRequest, model: Model, *, given: Mapping[str, npt.NDArray[np.float32]]
) -> Callable[[], Vectors]:
    if wanted.user_ids is not None:
        return partial(model.recommender.embed_users, wanted.user_ids, given=given)
    vectors = _source_vectors(wanted.vectors or (), dim=model.manifest.transfer.source_dim)
    return lambda: (model.recommender.embed_vectors(vectors), np.ones(len(vectors), dtype=np.bool_))


def _source_vectors(vectors: Sequence[Sequence[float]], *, dim: int) -> npt.NDArray[np.float32]:
    """``vectors`` as float32 [B, dim]. Raises Problem 422 with a pointer to each that does not fit."""
    wrong = [index for index, vector in enumerate(vectors) if len(vector) != dim]
    if not wrong:
        with np.errstate(over="ignore"):
            array = np.array(vectors, dtype=np.float32)
        wrong = np.flatnonzero(~np.isfinite(array).all(axis=1)).tolist()
        if not wrong:
            return array
    detail = f"a source vector of this bundle has {dim} numbers within the range of float32"
    raise Problem(
        "invalid_request",
        f"/vectors/{wrong[0]}: {detail}",
        errors=[FieldError(pointer=f"/vectors/{index}", detail=detail) for index in wrong[:20]],
    )


def _entries(
    vectors: npt.NDArray[np.float32],
    found: npt.NDArray[np.bool_],
    *,
    user_ids: Sequence[str] | None,
    as_base64: bool,
) -> Iterator[dict[str, Any]]:
    # An overflow leaves no vector to speak of, and JSON has no infinities.
    usable = found & np.isfinite(vectors).all(axis=1)
    for index, vector in enumerate(vectors.astype("<f4", copy=False)):
        entry: dict[str, Any] = {"index": index, "found": bool(usable[index])}
        if user_ids is not None:
            entry["user_id"] = user_ids[index]
        encoded = base64.b64encode(vector.tobytes()).decode() if as_base64 else vector
        entry["vector"] = encoded if usable[index] else None
        yield entry
