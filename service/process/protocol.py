"""The HTTP/1.1 protocol on top of uvicorn's: refuses requests on the connection, with the service's error responses."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from diffcdr.errors import DiffCDRError
from service.edge.overload_answer import on_the_wire
from service.edge.problems import Problem
from service.process.connection import PatientConnection

LINGER_SECONDS = 0.2
"""How long an idle connection stays open after the service has stopped listening: the first request of a connection
that was just accepted may still be on its way."""
PIPELINED = 16
"""Most pipelined requests that may wait on a connection. Each is held in memory."""
HOOKS = (
    "connection_made",
    "connection_lost",
    "on_headers_complete",
    "on_body",
    "on_message_complete",
    "on_response_complete",
    "send_400_response",
    "shutdown",
)
"""Methods of uvicorn's protocol that are overridden here. A method that uvicorn lacks would never be called."""


class TooManyPipelined(Exception):
    """Too many pipelined requests on one connection."""


def check_uvicorn() -> None:
    """Check that the installed uvicorn has the methods that the service overrides.

    Raises:
        DiffCDRError: it does not; without, limits would silently not hold.
    """
    if missing := [name for name in HOOKS if not callable(getattr(HttpToolsProtocol, name, None))]:
        raise DiffCDRError(
            f"cannot serve with uvicorn {version('uvicorn')}: its HTTP protocol has no {', '.join(missing)}, which the "
            "service builds on; install the version that constraints.txt names"
        )


class WholeAnswers:
    """A transport that sends the head of a response together with the first part of its body, in one write.

    uvicorn writes one after the other. If the process is killed in between, a proxy has seen the head of a response and
    cannot retry elsewhere. Responses of unknown length are streams: their heads are sent at once.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        """Write to ``transport``; every other method is that of ``transport``."""
        self._transport = transport
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send ``data``, or hold it if it is the head of a response whose body follows."""
        if self._head:
            data, self._head = self._head + data, b""
        elif isinstance(data, bytes) and _announces_a_body(data):
            self._head = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Send the held head: the response has no body, as for HEAD, or the body will not come."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def close(self) -> None:
        """Send the held head, then close."""
        self.flush()
        self._transport.close()


def _announces_a_body(data: bytes) -> bool:
    """Whether ``data`` is the head of a response with a content-length.

    A part of a body may look like one. It is then sent with the next part, or when the response is complete.
    """
    return data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n") and b"\r\ncontent-length: " in data


class ServiceProtocol(PatientConnection):
    """A connection.

    A request that cannot be parsed gets a problem document. A request over the concurrency limit is refused as soon as
    its head has arrived, before anything is allocated for it: under overload most requests are refused, so refusing
    must be cheap.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As uvicorn makes it; the lifespan's state holds the :class:`Edge`."""
        super().__init__(*args, **kwargs)
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        self._answers = WholeAnswers(transport)
        super().connection_made(cast(asyncio.Transport, self._answers))

    def on_headers_complete(self) -> None:
        """Start a request, or refuse it if there is no place for it."""
        self._refused = False
        if self._unanswered:
            # It waits for the responses before its own, and takes a place when its turn comes.
            if len(self._unanswered) > PIPELINED:
                raise TooManyPipelined
            self._begin()
            return
        method = self.parser.get_method().decode("ascii")
        state = self.scope["state"]
        if not self._edge.take_place(state, method, self.url, large=self._reader.large):
            self._refuse(method)
            return
        try:
            self._begin()
        except BaseException:
            self._edge.give_back(state)
            raise

    def _begin(self) -> None:
        super().on_headers_complete()
        self._unanswered.append(self.cycle)

    def on_response_complete(self) -> None:
        """A request was answered; the next one on the connection is next."""
        self._answers.flush()
        self._unanswered.popleft()
        self.answered()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left. uvicorn notifies only the last request, which may not be the one in progress."""
        self._abandon()
        super().connection_lost(exc)

    def _refuse(self, method: str) -> None:
        self._refused = True
        # A client that waits for "100 Continue" may send its body or not: the next bytes could be either.
        close = self.expect_100_continue or not self.parser.should_keep_alive()
        headers, body = self._edge.refuse(method, self.url, self.headers, close=close)
        body = b"" if method == "HEAD" else body
        self.transport.write(on_the_wire([*self.server_state.default_headers, *headers], body))
        if close or (b"connection", b"close") in headers:
            self.transport.close()
        elif pause := self._edge.pause_after_refusal():
            self.flow.pause_reading()
            self.loop.call_later(pause, self._listen_again)

    def _listen_again(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body; the body of a refused request is ignored."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        if not self._refused:
            super().on_message_complete()
        else:
            self.answered()

    def send_400_response(self, msg: str) -> None:
        """Answer and close the connection: later bytes on it cannot be attributed to a request."""
        self.end_with(Problem("bad_request", f"{msg} It may be too long, or not HTTP/1.1."))

    def shutdown(self) -> None:
        """Close the connection once it is idle, after a pause for requests that are already on their way."""
        # Twice soon: between the two the loop looks for what has arrived, which it may be far behind with.
        self.loop.call_later(LINGER_SECONDS, self.loop.call_soon, self.loop.call_soon, super().shutdown)
