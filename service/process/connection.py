"""Connection timeouts and size limits: how large a request head may be, and how long each part may take to arrive."""

from __future__ import annotations

import asyncio
import select
import uuid
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.edge.connection_limits import Limits
from service.edge.middleware import Edge
from service.edge.problems import MEDIA_TYPE, Problem
from service.process.reader import RequestReader

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

BODY_WINDOW_SECONDS = 10.0
"""Over so long a body has to bring its least."""
RESET_SECONDS = 0.01
"""So long after a client has closed its half it is looked whether it has closed both; and again and again."""
EVICTED_SHARE = 16
"""One in so many connections is closed where there are too many: those that were silent for longest."""
_HOP = frozenset({b"connection", b"upgrade", b"http2-settings"})


class PatientConnection(HttpToolsProtocol):
    """A connection that keeps :class:`Limits` and passes requests on through :class:`RequestReader`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As uvicorn makes it; the lifespan's state holds the :class:`Edge` and the :class:`Limits`."""
        super().__init__(*args, **kwargs)
        self._edge = cast(Edge, self.app_state["edge"])
        self._limits = cast(Limits, self.app_state["limits"])
        self._reader = RequestReader(self)
        self.parser = self._new_parser()
        self._unanswered: deque[RequestResponseCycle] = deque()
        """The request in work, and those that wait for its answer."""
        self._since = self.loop.time()
        """When what is now waited for began to be waited for."""
        self._waits_for: str = "first"
        self._counted = 0
        self._half_closed = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """Take what arrived."""
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        reader = self._reader
        try:
            self._feed(data)
            reader.fed(len(data))
        except Exception:
            problem = reader.problem
            if problem is None:
                self.send_400_response("Invalid HTTP request received.")
            else:
                self.end_with(problem)
            return
        waits_for = "head" if reader.in_head else "body" if reader.in_body else "next"
        if waits_for != self._waits_for:
            self._waits_for, self._since, self._counted = waits_for, self.loop.time(), 0

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # No upgrade is made, so the request is one like any other (RFC 9110, 7.8): the parser is told it without.
            method = self.parser.get_method()
            if method == b"CONNECT":
                raise
            lines = [b"%b: %b\r\n" % header for header in self.headers if header[0] not in _HOP]
            head = b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, self.version().encode(), b"".join(lines))
            self.parser = self._new_parser()
            self.parser.feed_data(head + data[upgrade.args[0] :])

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends nothing more: it has left, or has closed only its half and waits for an answer."""
        if not self._unanswered or self._reader.in_head or self._reader.in_body or self.transport.is_closing():
            return False
        first, last = self._unanswered[0], self._unanswered[-1]
        last.keep_alive = False
        if not first.response_started and first.scope["http_version"] == "1.1":
            # Whoever has left answers this with a reset, and is not computed for; others pass over it.
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._half_closed = True
        self.loop.call_later(RESET_SECONDS, self._leave_if_reset)
        return True

    def _leave_if_reset(self) -> None:
        # After its end nothing more is read of a connection, so nobody else would notice.
        if self._half_closed and not self.transport.is_closing() and self._polled(select.POLLERR | select.POLLHUP):
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left; a request that was not there as a whole is counted all the same."""
        if self._reader.in_body and not self._unanswered and not self._reader.upgrading:
            self._edge.abandoned(self.parser.get_method().decode("ascii"), self.url)
        super().connection_lost(exc)

    def version(self) -> str:
        """The HTTP version of the present request."""
        return str(self.parser.get_http_version())

    def wants_upgrade(self) -> bool:
        """Whether the client offers to speak another protocol."""
        return bool(self.parser.should_upgrade())

    def locate(self) -> None:
        """Strip the path prefix from the address."""
        self.url = self._edge.without_prefix(self.url)

    def at_once(self) -> bool:
        """Whether the request starts before its body has arrived."""
        if self._unanswered or self._edge.begins_at_once(self.parser.get_method().decode("ascii"), self.url):
            return True
        if self.expect_100_continue:
            self.expect_100_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return False

    def look(self, now: float) -> None:
        """Close the connection if it took too long, with an error response if a request is pending."""
        waited = now - self._since
        self._leave_if_reset()
        if self._waits_for == "body":
            self._look_at_body(now, waited)
        elif self._unanswered:
            return
        elif self._waits_for == "head":
            if waited > self._limits.head and not self._unread():
                detail = f"the request's head did not arrive within {self._limits.head:g} s; send it faster"
                self.end_with(Problem("request_timeout", detail))
        elif waited > self._silence() and not self._unread():
            self.transport.close()

    def _silence(self) -> float:
        return self._limits.head if self._waits_for == "first" else self._limits.keep_alive

    def _look_at_body(self, now: float, waited: float) -> None:
        if waited < BODY_WINDOW_SECONDS:
            return
        came = self._reader.arrived - self._counted
        self._since, self._counted = now, self._reader.arrived
        if came < self._limits.body_rate * waited and not self.flow.read_paused and not self._unread():
            rate = self._limits.body_rate
            detail = f"only {came} bytes of the body arrived in {waited:.0f} s; send at least {rate} a second"
            self.end_with(Problem("request_timeout", detail))

    def answered(self) -> None:
        """Start waiting for the next request."""
        self._since = self.loop.time()

    def idle_since(self) -> float | None:
        """Since when the connection has been idle; None while it is busy."""
        return None if self._unanswered or self._reader.in_body else self._since

    def timeout_keep_alive_handler(self) -> None:
        """Nothing: :meth:`look` closes connections, after looking for what has arrived and was not read yet."""

    def end_with(self, problem: Problem) -> None:
        """Answer and close the connection: later bytes on it cannot be attributed to a request."""
        request_id = uuid.uuid4().hex
        body = orjson.dumps(problem.content(instance="", request_id=request_id))
        status = HTTPStatus(problem.status)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            f"x-request-id: {request_id}\r\nconnection: close\r\n\r\n"
        )
        begun = bool(self._unanswered) and self._unanswered[0].response_started
        self._reader.in_head = self._reader.in_body = False
        self._abandon()
        if not begun:
            self.transport.write(head.encode() + body)
        self.transport.close()

    def _abandon(self) -> None:
        for cycle in self._unanswered:
            cycle.disconnected = True
            cycle.message_event.set()

    def _unread(self) -> bool:
        """Whether something has arrived that was not read yet: under overload that is the service's own fault."""
        return self._polled(select.POLLIN)

    def _polled(self, events: int) -> bool:
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), events & select.POLLIN)
        return any(found & events for _, found in poll.poll(0))

    def _make_room(self) -> None:
        """Close those connections that were silent for longest, or this one where none is silent."""
        others = [each for each in self.connections if isinstance(each, PatientConnection) and each is not self]
        silent = [(since, id(each), each) for each in others if (since := each.idle_since()) is not None]
        for _, _, each in sorted(silent)[: max(1, len(others) // EVICTED_SHARE)]:
            each.transport.close()
        if not silent:
            self.transport.close()

    def _new_parser(self) -> Any:
        parser = httptools.HttpRequestParser(self._reader)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser
