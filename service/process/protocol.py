"""HTTP/1.1 as uvicorn speaks it, with the service's own word where a request comes no further than the connection."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, cast

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.edge.middleware import ENTERED, Edge
from service.edge.overload_answer import on_the_wire
from service.edge.problems import MEDIA_TYPE, Problem

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

LINGER_SECONDS = 0.2
"""How long a connection without a request stays open after the service has stopped listening: one that was accepted a
moment ago has its request still to come."""
PIPELINED = 16
"""Most requests that may wait on a connection for the answers before theirs. Each is held in memory."""


class TooManyPipelined(Exception):
    """More requests on one connection than are held for it."""


class ServiceProtocol(HttpToolsProtocol):
    """A connection.

    What cannot be parsed gets a problem document. A request that finds no place is refused as soon as its head is
    there, before anything is made for it: under overload most are, and what that costs is what is left for the others.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As uvicorn makes it; the lifespan's state holds the :class:`Edge`."""
        super().__init__(*args, **kwargs)
        self._edge = cast(Edge, self.app_state["edge"])
        self._refused = False
        self._running: RequestResponseCycle | None = None

    def on_headers_complete(self) -> None:
        """Begin with a request, unless it is one too many."""
        self._refused = False
        if self._running is not None and not self._running.response_complete:
            # It waits for the answer before its own, and takes a place when it is its turn.
            if len(self.pipeline) >= PIPELINED:
                raise TooManyPipelined
            super().on_headers_complete()
            return
        entered = self._edge.enter(self.url)
        if entered is False:
            self._refuse()
            return
        if entered:
            self.scope["state"][ENTERED] = True
        try:
            super().on_headers_complete()
        except BaseException:
            if entered:
                self._edge.leave()
            raise

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left. uvicorn tells the request that came last, which may not be the one in work."""
        self._abandon()
        super().connection_lost(exc)

    def _abandon(self) -> None:
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()

    def _refuse(self) -> None:
        self._refused = True
        # A client that waits for leave to send its body may now send it or not: what comes next could be either.
        close = self.expect_100_continue or not self.parser.should_keep_alive()
        headers, body = self._edge.refuse(self.parser.get_method().decode("ascii"), self.url, self.headers, close=close)
        self.transport.write(on_the_wire([*self.server_state.default_headers, *headers], body))
        if close or (b"connection", b"close") in headers:
            self.transport.close()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body; that of a refused request is of no interest."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there as a whole."""
        if not self._refused:
            super().on_message_complete()
        elif not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def send_400_response(self, msg: str) -> None:
        """Answer and close the connection: what follows on it cannot be told apart."""
        problem = Problem("bad_request", f"{msg} It may be too long, or not HTTP/1.1.")
        request_id = uuid.uuid4().hex
        body = orjson.dumps(problem.content(instance="", request_id=request_id))
        head = (
            f"HTTP/1.1 400 Bad Request\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            f"x-request-id: {request_id}\r\nconnection: close\r\n\r\n"
        )
        self._abandon()
        self.transport.write(head.encode() + body)
        self.transport.close()

    def shutdown(self) -> None:
        """Close the connection once it is idle, and not before what may be on its way has had time to arrive."""
        # Twice soon: between the two the loop looks for what has arrived, which it may be far behind with.
        self.loop.call_later(LINGER_SECONDS, self.loop.call_soon, self.loop.call_soon, super().shutdown)
