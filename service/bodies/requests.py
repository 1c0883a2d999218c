"""Reads request bodies: size-limited while they arrive, then parsed and validated (large ones piece by piece)."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from service.bodies.json_cutter import Text
from service.bodies.pieces import parse_in_pieces
from service.edge.problems import Problem, from_validation

M = TypeVar("M", bound=BaseModel)

JSON = "application/json"
AT_ONCE_BYTES = 1 << 20
AT_ONCE_VALUES = 8192
"""A body with as many bytes and values as these is parsed within some 15 ms, however wrong it is."""

_aside = ThreadPoolExecutor(1, thread_name_prefix="bodies")
"""Where larger ones are parsed, one after the other."""


def media_type(request: Request, *allowed: str) -> str:
    """The request's content type, without parameters; the first of ``allowed`` if it names none.

    Raises:
        Problem: 415 if it is not one of ``allowed``, or the body is compressed.
    """
    kind = request.headers.get("content-type", allowed[0]).partition(";")[0].strip().lower()
    if kind not in allowed:
        raise Problem("unsupported_media_type", f"send the body with Content-Type: {' or '.join(allowed)}")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Problem("unsupported_media_type", "send the body without Content-Encoding")
    return kind


def declared_length(request: Request, *, limit: int) -> None:
    """Raise Problem 413 if the request announces a body of more than ``limit`` bytes."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise too_large(limit)


def too_large(limit: int) -> Problem:
    """The 413 that names the limit."""
    return Problem("body_too_large", f"the body may have {limit} bytes at most; send less")


async def read_json(request: Request, model: type[M], *, limit: int) -> M:
    """The body of ``request``, as a ``model``.

    Raises:
        Problem: 413 beyond ``limit`` bytes (as soon as that shows), 415, 400 if it is not JSON, 422 otherwise.
        ClientDisconnect: the client left before the body was whole.
    """
    media_type(request, JSON)
    declared_length(request, limit=limit)
    body = bytearray()
    async for part in request.stream():
        if len(body) + len(part) > limit:
            raise too_large(limit)
        body += part
    if _is_small(body):
        return parse(model, body)
    return await asyncio.get_running_loop().run_in_executor(_aside, parse_in_pieces, model, body)


def parse(model: type[M], text: Text) -> M:
    """``text`` as a ``model``. Raises Problem 400 or 422."""
    if not _is_small(text):
        return parse_in_pieces(model, text)
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        problem = from_validation(error)
    # Raised here, where it does not hold on to the other one and to its frames: a batch keeps one for each bad entry.
    raise problem


def _is_small(text: Text) -> bool:
    """Whether ``text`` can be parsed at once: by its length, and by the marks that begin or separate its values."""
    if len(text) <= AT_ONCE_VALUES:
        return True
    return len(text) <= AT_ONCE_BYTES and sum(map(text.count, (b",", b"[", b"{"))) < AT_ONCE_VALUES
