"""Idempotency keys: a write that is sent again under its key gets the same answer as the first time."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Annotated

import orjson
from fastapi import Header, Request, Response

from service.bodies.requests import JSON
from service.components import runtime_of
from service.edge.problems import Problem
from service.schemas.examples import IDEMPOTENCY_KEY

KEEP_SECONDS = 86_400.0
"""How long a key is remembered after its first use."""

IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern="^[!-~]{1,255}$",
        description="Drawn by the sender for one request. Sent again with it within a day, the request is answered as "
        "the first time; another request under the same key gets 422 (`idempotency_key_reused`).",
        examples=[IDEMPOTENCY_KEY],
    ),
]


async def once(request: Request, key: str | None, asked: str, work: Callable[[], Awaitable[Response]]) -> Response:
    """The answer of ``work()``, or the stored answer if the same request came under ``key`` before.

    ``asked`` is the text of the request. Where a request under the key has no answer yet, it may have died: ``work``
    is done again, so it has to be harmless twice, and all get the answer of whoever is first. What raises leaves none.

    Raises:
        Problem: 422 where something else was asked under ``key``.
        StateUnavailable: keys cannot be remembered now.
    """
    if key is None:
        return await work()
    store = runtime_of(request).store
    # Callers do not see each other's keys.
    scope = (request.scope["state"].get("caller", ""), request.method, request.scope["path"], key)
    name, text = _digest(orjson.dumps(scope)), _digest(asked.encode("utf-8", "surrogatepass"))
    claim = await store.claim(name, text, keep_seconds=KEEP_SECONDS)
    if claim.asked != text:
        raise Problem("idempotency_key_reused", "another request was sent under this Idempotency-Key; draw a new one")
    if claim.answer is None:
        response = await work()
        given = orjson.dumps([response.status_code, bytes(response.body).decode()]).decode()
        recorded = await store.record_answer(name, given)
        if recorded == given:
            return response
    else:
        recorded = claim.answer
    status, body = orjson.loads(recorded)
    return Response(body, status_code=status, media_type=JSON, headers={"Idempotency-Replayed": "true"})


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
