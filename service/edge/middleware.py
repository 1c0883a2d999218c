"""The middleware around every request: ids, headers, limits, authentication, metrics, logs and errors.

Plain ASGI: it adds a few microseconds and never holds a body back.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.components import Lifecycle
from service.edge.access import Access
from service.edge.auth import Scope as Permission
from service.edge.auth import required_scope
from service.edge.concurrency import BATCH, Places
from service.edge.overload_answer import STATUS as REFUSED_STATUS
from service.edge.overload_answer import Headers, refusal
from service.edge.path_prefix import PathPrefix
from service.edge.problems import Problem, from_exception
from service.edge.request_ids import identify, log_ids, note_identity
from service.engine.jobs import ClientLeft
from service.metrics import Metrics

logger = logging.getLogger(__name__)

BROKEN_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
USERS = "/v1/users/"
ITEMS, POPULAR = "/v1/items/", "/v1/items/popular"
BATCH_URL = BATCH.encode()
WITH_BODIES = frozenset({"/v1/recommendations", BATCH, "/v1/embeddings", "/v1/events"})
"""Paths that may become labels before routing."""
CLIENT_LEFT_STATUS = "499"
UNMATCHED = "unmatched"
CONSOLE = "console"
"""Label of requests from the console, which are not traffic."""
CONSOLE_HEADER = (b"x-diffcdr-console", b"1")


@dataclass(frozen=True)
class DirectRoute:
    """A hot route that is called directly: routing and dependency injection would cost more than its own work.

    FastAPI knows it too, documents it and answers its other methods.
    """

    method: str
    path: str
    endpoint: Callable[[Request], Awaitable[Response]]


class Edge:
    """Serves each request through the application, or through a direct route."""

    def __init__(
        self,
        *,
        metrics: Metrics,
        lifecycle: Lifecycle,
        access_log: bool,
        access: Access,
        places: Places,
        prefix: PathPrefix,
        direct: Sequence[DirectRoute] = (),
    ) -> None:
        """Requests to ``direct`` routes bypass the application; requests beyond the limits are refused."""
        self._direct = {(route.method, route.path): route for route in direct}
        self._metrics = metrics
        self._access = access
        self._places = places
        self.without_prefix = prefix.without
        self._lifecycle = lifecycle
        self._access_log = access_log

    def before(self, app: ASGIApp) -> ASGIApp:
        """``app`` with this edge around it."""

        async def edged(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                await self._let_in(app, scope, receive, send)
            else:
                await app(scope, receive, send)

        return edged

    def is_direct(self, scope: Scope) -> bool:
        """Whether ``scope`` is a request to a direct route."""
        return scope["type"] == "http" and (scope["method"], scope["path"]) in self._direct

    def take_place(self, state: MutableMapping[str, Any], method: str, url: bytes, *, large: bool = False) -> bool:
        """Take a place for a request to ``url``, as it was sent; False where none is left. See :meth:`Places.take`."""
        return self._places.take(state, method, _path(url), large=large)

    def give_back(self, state: MutableMapping[str, Any]) -> None:
        """Give back the place of a request that is not served."""
        self._places.give_back(state)

    def begins_at_once(self, method: str, url: bytes) -> bool:
        """Whether a request starts before its body has arrived: a batch, or one that will be refused."""
        if url.startswith(BATCH_URL):
            return True
        gate = self._places.gate(method, _path(url))
        return gate is not None and gate.full

    def pause_after_refusal(self) -> float:
        """Seconds for which the connection of a request that was just refused is not read."""
        return self._places.pace.pause()

    def abandoned(self, method: str, url: bytes) -> None:
        """Count a request whose client left before the body had arrived."""
        path = _path(url)
        route = path if path in WITH_BODIES else UNMATCHED
        self._metrics.count_request(route=route, method=known_method(method), status=CLIENT_LEFT_STATUS, seconds=0.0)

    def refuse(self, method: str, url: bytes, headers: Headers, *, close: bool) -> tuple[Headers, bytes]:
        """Headers and body of a refusal, which is counted. This does as little work as it can.

        ``close``: the connection is closed after it.
        """
        path = _path(url)
        route = path if (method, path) in self._direct else UNMATCHED
        request_id, trace_id, told = identify(headers)
        if close or self._lifecycle.draining:
            told.append((b"connection", b"close"))
        self._metrics.count_refusal(route=route, method=known_method(method))
        if self._access_log:
            ids = {"request_id": request_id, "trace_id": trace_id}
            logger.info("request", extra={**ids, "method": method, "route": route, "status": str(REFUSED_STATUS.value)})
        more, body = refusal(path, request_id, retry_after=self._places.retry_after())
        return told + more, body

    async def _let_in(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        raw_path = scope["raw_path"]
        if scope["path"].startswith((USERS, ITEMS)) and scope["path"] != POPULAR:
            # As it was sent: an id with a slash in it (%2F) must not become another address.
            scope["path"] = raw_path.decode("ascii")
        scope_needed = required_scope(scope["method"], scope["path"])
        state = scope.setdefault("state", {})
        if not self._places.take(state, scope["method"], scope["path"]):
            headers, body = self.refuse(scope["method"], scope["raw_path"], scope["headers"], close=False)
            await send({"type": "http.response.start", "status": REFUSED_STATUS.value, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        try:
            await self._serve(app, scope, receive, send, scope_needed)
        finally:
            self._places.give_back(state)

    async def _serve(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, scope_needed: Permission | None
    ) -> None:
        """Answer one request."""
        started = time.perf_counter()
        extra_headers = note_identity(scope)
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
            _check_text(scope)
            self._access.check_host(scope)
            if scope_needed is not None:
                self._access.check(scope, scope_needed)
            route = self._direct.get((scope["method"], scope["path"]))
            if scope["method"] == "HEAD":
                # As GET, for whoever answers it; the server leaves the body out, as it goes by its own scope.
                asked = {**scope, "method": "GET"}
                try:
                    await app(asked, receive, send_with_headers)
                finally:
                    scope["route"] = asked.get("route")
            elif route is None:
                await app(scope, receive, send_with_headers)
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

    async def _fail(self, error: Exception, scope: Scope, receive: Receive, send: Send, *, started: bool) -> None:
        """Answer with what ``error`` stands for; an unexpected one is logged with its traceback."""
        request_id = scope["state"]["request_id"]
        problem = from_exception(error)
        if problem.code == "internal_error":
            logger.error("request failed", exc_info=error, extra={**log_ids(scope), "route": route_of(scope)})
        if started:
            raise error
        response = problem.response(instance=scope["path"], request_id=request_id)
        await response(scope, receive, send)

    def _finish(self, scope: Scope, status: str, seconds: float) -> None:
        route = route_of(scope)
        label = CONSOLE if from_console(scope) else route
        self._metrics.count_request(route=label, method=method_of(scope), status=status, seconds=seconds)
        if self._access_log:
            logger.info(
                "request",
                extra={
                    **log_ids(scope),
                    "method": scope["method"],
                    "route": route,
                    "status": status,
                    "duration_ms": round(seconds * 1000, 3),
                },
            )


def _check_text(scope: Scope) -> None:
    """Raise Problem 400 where percent signs in the address stand for no text: an id is what it is, byte for byte."""
    sent = scope["raw_path"] + b"?" + scope["query_string"]
    if b"%" not in sent:
        return
    try:
        unquote_to_bytes(sent).decode()
    except UnicodeDecodeError:
        broken = True
    else:
        broken = BROKEN_PERCENT.search(sent) is not None
    if broken:
        raise Problem("bad_request", "the address is not UTF-8, percent-encoded; encode ids as UTF-8 first")


def _path(url: bytes) -> str:
    return url.partition(b"?")[0].decode("latin-1")


def from_console(scope: Scope) -> bool:
    """Whether the request comes from the console, which is counted separately."""
    return CONSOLE_HEADER in scope["headers"]


def route_of(scope: Scope) -> str:
    """The route's template, so that ids in paths never become labels."""
    route = scope.get("route")
    return str(getattr(route, "path_format", None) or getattr(route, "path", UNMATCHED))


def method_of(scope: Scope) -> str:
    """The method as a label."""
    return known_method(str(scope["method"]))


def known_method(method: str) -> str:
    """``method``, or ``other`` for an unknown one, so that callers cannot create labels."""
    return method if method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH") else "other"
