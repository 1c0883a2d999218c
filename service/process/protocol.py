"""HTTP/1.1 as uvicorn speaks it, with the service's own word where a request comes no further than the connection."""

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
"""How long a connection without a request stays open after the service has stopped listening: one that was accepted a
moment ago has its request still to come."""
PIPELINED = 16
"""Most requests that may wait on a connection for the answers before theirs. Each is held in memory."""
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
"""Methods of uvicorn's protocol that are overridden here. One that uvicorn does not have would never be called."""


class TooManyPipelined(Exception):
    """More requests on one connection than are held for it."""


def check_uvicorn() -> None:
    """See to it that the installed uvicorn calls what the service overrides.

    Raises:
        DiffCDRError: it does not; without, limits would silently not hold.
    """
    if missing := [name for name in HOOKS if not callable(getattr(HttpToolsProtocol, name, None))]:
        raise DiffCDRError(
            f"cannot serve with uvicorn {version('uvicorn')}: its HTTP protocol has no {', '.join(missing)}, which the "
            "service builds on; install the version that constraints.txt names"
        )


class WholeAnswers:
    """A connection's transport on which the head of an answer waits for the first part of its body: one write for both.

    uvicorn writes one after the other. A process that is killed in between has told a proxy that an answer comes, so
    that the proxy can ask nobody else. Answers of unknown length are streams: their heads go out at once.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        """Write to ``transport``, whose every other method is this one's too."""
        self._transport = transport
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send ``data``, or hold it where it is the head of an answer whose body follows."""
        if self._head:
            data, self._head = self._head + data, b""
        elif isinstance(data, bytes) and _announces_a_body(data):
            self._head = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Send what is held: the answer has no body, as one to HEAD, or there will be none."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def close(self) -> None:
        """Send what is held, then close."""
        self.flush()
        self._transport.close()


def _announces_a_body(data: bytes) -> bool:
    """Whether ``data`` is the head of an answer that says how long its body is.

    A part of a body may look like one; it is then sent along with the next, or when the answer is complete.
    """
    return data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n") and b"\r\ncontent-length: " in data


class ServiceProtocol(PatientConnection):
    """A connection.

    What cannot be parsed gets a problem document. A request that finds no place is refused as soon as its head is
    there, before anything is made for it: under overload most are, and what that costs is what is left for the others.
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
        """Begin with a request, unless it is one too many."""
        self._refused = False
        if self._unanswered:
            # It waits for the answer before its own, and takes a place when it is its turn.
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
        """A request is answered; the next one on the connection has its turn."""
        self._answers.flush()
        self._unanswered.popleft()
        self.answered()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left. uvicorn tells the request that came last alone, which may not be the one in work."""
        self._abandon()
        super().connection_lost(exc)

    def _refuse(self, method: str) -> None:
        self._refused = True
        # A client that waits for leave to send its body may now send it or not: what comes next could be either.
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
        """Take a part of a body; that of a refused request is of no interest."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there as a whole."""
        if not self._refused:
            super().on_message_complete()
        else:
            self.answered()

    def send_400_response(self, msg: str) -> None:
        """Answer and close the connection: what follows on it cannot be told apart."""
        self.end_with(Problem("bad_request", f"{msg} It may be too long, or not HTTP/1.1."))

    def shutdown(self) -> None:
        """Close the connection once it is idle, and not before what may be on its way has had time to arrive."""
        # Twice soon: between the two the loop looks for what has arrived, which it may be far behind with.
        self.loop.call_later(LINGER_SECONDS, self.loop.call_soon, self.loop.call_soon, super().shutdown)
