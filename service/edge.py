"""The outermost layer of every request: ids, headers, counting, logging, and the last word on errors.

Plain ASGI: it adds a few microseconds and never holds a body back.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import orjson
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.admission import Admission
from service.auth import Scope as Permission
from service.auth import required_scope
from service.gate import Gate
from service.jobs import ClientLeft, QueueFull
from service.metrics import Metrics
from service.problems import MEDIA_TYPE, from_exception
from service.runtime import Lifecycle

logger = logging.getLogger(__name__)

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:+/=-]{1,128}")
TRACEPARENT = re.compile(rb"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
USERS = "/v1/users/"
CLIENT_LEFT_STATUS = "499"


@dataclass(frozen=True)
class DirectRoute:
    """A route so hot that it is called from here: routing and dependency injection cost more than its own work.

    It is declared to FastAPI all the same, which documents it and answers its other methods.
    """

    method: str
    path: str
    endpoint: Callable[[Request], Awaitable[Response]]


class Edge:
    """ASGI middleware around the application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        lifecycle: Lifecycle,
        access_log: bool,
        admission: Admission,
        gate: Gate,
        direct: Sequence[DirectRoute] = (),
    ) -> None:
        """Wrap ``app``; requests to the ``direct`` routes do not pass through it, and those too many go nowhere."""
        self._app = app
        self._direct = {(route.method, route.path): route for route in direct}
        self._metrics = metrics
        self._admission = admission
        self._gate = gate
        self._lifecycle = lifecycle
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"].startswith(USERS):
            # As it was sent: an id with a slash in it (%2F) must not become another address.
            scope["path"] = scope["raw_path"].decode("ascii")
        scope_needed = required_scope(scope["method"], scope["path"])
        if scope_needed is None or scope_needed == "admin":
            # Whoever looks after the service has to reach it above all when it is overloaded.
            await self._serve(scope, receive, send, scope_needed)
        elif self._gate.enter():
            try:
                await self._serve(scope, receive, send, scope_needed)
            finally:
                self._gate.leave()
        else:
            await self._refuse(scope, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, scope_needed: Permission | None) -> None:
        """Answer one request."""
        started = time.perf_counter()
        extra_headers = _identify(scope)
        status = ""

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
                message["headers"].extend(extra_headers)
                if self._lifecycle.draining:
                    # Clients that keep connections open move on to another replica.
                    MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        try:
            if scope_needed is not None:
                self._admission.admit(scope, scope_needed)
            route = self._direct.get((scope["method"], scope["path"]))
            if route is None:
                await self._app(scope, receive, send_with_headers)
            else:
                scope["route"] = route
                response = await route.endpoint(Request(scope, receive, send_with_headers))
                await response(scope, receive, send_with_headers)
        except (ClientDisconnect, ClientLeft):
            status = CLIENT_LEFT_STATUS
        except Exception as error:
            await self._fail(error, scope, receive, send_with_headers, started=bool(status))
        finally:
            self._finish(scope, status or CLIENT_LEFT_STATUS, time.perf_counter() - started)

    async def _refuse(self, scope: Scope, send: Send) -> None:
        """Say that this request is one too many: straight to the server, as that has to cost the least of all."""
        started = time.perf_counter()
        self._metrics.shed_rows.inc()
        headers = _identify(scope)
        problem = from_exception(QueueFull(self._gate.retry_after()))
        body = orjson.dumps(problem.content(instance=scope["path"], request_id=scope["state"]["request_id"]))
        headers += [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
        headers += [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
        if self._lifecycle.draining:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._finish(scope, str(problem.status), time.perf_counter() - started)

    async def _fail(self, error: Exception, scope: Scope, receive: Receive, send: Send, *, started: bool) -> None:
        """Answer with what ``error`` stands for; an unexpected one is logged with its traceback."""
        request_id = scope["state"]["request_id"]
        problem = from_exception(error)
        if problem.code == "internal_error":
            logger.error("request failed", exc_info=error, extra={**_log_ids(scope), "route": route_of(scope)})
        if started:
            raise error
        response = problem.response(instance=scope["path"], request_id=request_id)
        await response(scope, receive, send)

    def _finish(self, scope: Scope, status: str, seconds: float) -> None:
        route = route_of(scope)
        self._metrics.count_request(route=route, method=method_of(scope), status=status, seconds=seconds)
        if self._access_log:
            logger.info(
                "request",
                extra={
                    **_log_ids(scope),
                    "method": scope["method"],
                    "route": route,
                    "status": status,
                    "duration_ms": round(seconds * 1000, 3),
                },
            )


def _identify(scope: Scope) -> list[tuple[bytes, bytes]]:
    """Note the request id (the caller's if it is sane, else a new one) and trace id; return their headers."""
    state = scope.setdefault("state", {})
    state["request_id"] = ""
    headers = [(b"x-content-type-options", b"nosniff")]
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            state["request_id"] = value.decode()
        elif name == b"traceparent" and (trace := TRACEPARENT.fullmatch(value)):
            state["trace_id"] = trace[1].decode()
            headers.append((name, value))
    state["request_id"] = state["request_id"] or secrets.token_hex(16)
    headers.append((b"x-request-id", state["request_id"].encode()))
    return headers


def _log_ids(scope: Scope) -> dict[str, str | None]:
    return {"request_id": scope["state"]["request_id"], "trace_id": scope["state"].get("trace_id")}


def route_of(scope: Scope) -> str:
    """The route's template, so that ids in paths never become labels."""
    route = scope.get("route")
    return str(getattr(route, "path_format", None) or getattr(route, "path", "unmatched"))


def method_of(scope: Scope) -> str:
    """The method, or ``other``: whatever a caller makes up must not become a label."""
    method = str(scope["method"])
    return method if method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH") else "other"
