"""Request ids and trace ids: read from the headers or made, returned to the caller, written to the log."""

from __future__ import annotations

import os
import random
import re

from starlette.types import Scope

from service.edge.overload_answer import Headers

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:+/=-]{1,128}")
TRACEPARENT = re.compile(rb"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")

_random = random.Random()
os.register_at_fork(after_in_child=_random.seed)  # no two workers give out the same request ids


def identify(headers: Headers) -> tuple[str, str | None, list[tuple[bytes, bytes]]]:
    """The request id (the caller's if valid, else a new one), the trace id, and the response headers with both."""
    request_id, trace_id = "", None
    told = [(b"x-content-type-options", b"nosniff")]
    for name, value in headers:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            request_id = value.decode()
        elif name == b"traceparent" and (trace := TRACEPARENT.fullmatch(value)):
            trace_id = trace[1].decode()
            told.append((name, value))
    request_id = request_id or f"{_random.getrandbits(128):032x}"
    told.append((b"x-request-id", request_id.encode()))
    return request_id, trace_id, told


def note_identity(scope: Scope) -> list[tuple[bytes, bytes]]:
    """Note the ids in the state of the request; return the response headers with them."""
    request_id, trace_id, told = identify(scope["headers"])
    state = scope["state"]
    state["request_id"] = request_id
    if trace_id is not None:
        state["trace_id"] = trace_id
    return told


def log_ids(scope: Scope) -> dict[str, str | None]:
    """The ids as fields of a log record."""
    return {"request_id": scope["state"]["request_id"], "trace_id": scope["state"].get("trace_id")}
