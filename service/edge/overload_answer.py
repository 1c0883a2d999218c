"""The pre-encoded 503 response for requests over the concurrency limit."""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

import orjson

from service.edge.problems import MEDIA_TYPE, from_exception
from service.engine.jobs import QueueFull

STATUS = HTTPStatus.SERVICE_UNAVAILABLE
STATUS_LINE = f"HTTP/1.1 {STATUS.value} {STATUS.phrase}\r\n".encode()

Headers = list[tuple[bytes, bytes]]

_INSTANCE, _REQUEST_ID = "@instance@", "@request_id@"


class _Form(NamedTuple):
    """A problem document with two gaps, and the headers that go with it."""

    headers: tuple[tuple[bytes, bytes], ...]
    start: bytes
    middle: bytes
    end: bytes


def refusal(path: str, request_id: str, *, retry_after: int) -> tuple[Headers, bytes]:
    """Headers and body of the 503 for ``path``, with ``Retry-After: retry_after`` in seconds."""
    form = _form(retry_after)
    body = b"".join((form.start, orjson.dumps(path), form.middle, orjson.dumps(request_id), form.end))
    return [*form.headers, (b"content-length", b"%d" % len(body))], body


def on_the_wire(headers: Headers, body: bytes) -> bytes:
    """The whole answer, as HTTP/1.1 writes it."""
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    return b"".join((STATUS_LINE, lines, b"\r\n", body))


@lru_cache(maxsize=64)
def _form(retry_after: int) -> _Form:
    problem = from_exception(QueueFull(retry_after))
    start, rest = _cut(orjson.dumps(problem.content(instance=_INSTANCE, request_id=_REQUEST_ID)), _INSTANCE)
    middle, end = _cut(rest, _REQUEST_ID)
    named = [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    return _Form((*named, (b"content-type", MEDIA_TYPE.encode())), start, middle, end)


def _cut(text: bytes, mark: str) -> tuple[bytes, bytes]:
    before, _, after = text.partition(orjson.dumps(mark))
    return before, after
