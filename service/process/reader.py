"""Collects what the parser reports and passes a request on once it is complete.

A request takes a place when its body has arrived, so that slow senders hold up nobody but themselves. What is larger
than ``HELD_BYTES`` is handed on as it comes, and has places of its own.
"""

from __future__ import annotations

from typing import Protocol

from service.edge.problems import Problem

HELD_BYTES = 64 << 10
"""A body up to this is held until it is whole."""
MAX_HEAD_BYTES = 32 << 10
"""Most bytes of a request's address and headers together."""
MAX_HEADERS = 128
MAX_ADDRESS_BYTES = 16 << 10
FRAMING_BYTES = 64 << 10
"""Most bytes around the parts of a body (chunk sizes, trailers), beyond sixteen for each byte of it."""


class Refused(Exception):
    """Raised through the parser, which then stops; ``RequestReader.problem`` says why."""


class Listener(Protocol):
    """The parser callbacks that the connection implements."""

    url: bytes

    def on_message_begin(self) -> None: ...  # noqa: D102
    def on_url(self, url: bytes) -> None: ...  # noqa: D102
    def on_header(self, name: bytes, value: bytes) -> None: ...  # noqa: D102
    def on_headers_complete(self) -> None: ...  # noqa: D102
    def on_body(self, body: bytes) -> None: ...  # noqa: D102
    def on_message_complete(self) -> None: ...  # noqa: D102
    def version(self) -> str: ...  # noqa: D102
    def wants_upgrade(self) -> bool: ...  # noqa: D102
    def locate(self) -> None: ...  # noqa: D102
    def at_once(self) -> bool:
        """Whether the request is passed on before its body has arrived."""


class RequestReader:
    """Stands between the parser and the connection."""

    def __init__(self, connection: Listener) -> None:
        self._to = connection
        self.in_head = self.in_body = False
        """A request has begun to arrive, and is not there as a whole."""
        self.problem: Problem | None = None
        self.large = False
        self.upgrading = False
        self.arrived = 0
        """Bytes of the present request's body, so far."""
        self.framing = 0
        """Bytes that came since the head was complete, body or not."""
        self._held = bytearray()
        self._began = False
        """With the bytes that the parser is given now, which may hold the end of another request too."""
        self._handed_on = False
        self._head_bytes = self._headers = self._hosts = 0

    def fed(self, size: int) -> None:
        """Note that the parser got ``size`` bytes, so that bytes which form no request cannot continue for ever."""
        if self._began:  # how many of them are this request's is not known; the next ones all are
            self._began = False
        elif self.in_head:
            self._head_bytes += size
            if self._head_bytes > 2 * MAX_HEAD_BYTES:
                self._head_too_large()
        elif self.in_body:
            self.framing += size
            if self.framing > FRAMING_BYTES + 17 * self.arrived:
                self._refuse("bad_request", "the body has far more framing than content; send larger chunks")

    def on_message_begin(self) -> None:
        """A new request begins."""
        self.in_head, self.in_body, self.large, self.upgrading = True, False, False, False
        self._began, self._handed_on = True, False
        self._held.clear()
        self._head_bytes = self._headers = self._hosts = self.arrived = self.framing = 0
        self._to.on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the address."""
        self._to.on_url(url)
        if len(self._to.url) > MAX_ADDRESS_BYTES:
            self._head_too_large()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header. Trailers after a body are ignored: they must not change how the head was interpreted."""
        if not self.in_head:
            return
        self._headers += 1
        self._head_bytes += len(name) + len(value)
        self._hosts += name.lower() == b"host"
        if self._headers > MAX_HEADERS or self._head_bytes > 2 * MAX_HEAD_BYTES:
            self._head_too_large()
        self._to.on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self.in_head, self.in_body = False, True
        if self._hosts > 1 or (not self._hosts and self._to.version() == "1.1"):
            self._refuse("bad_request", "a request must have exactly one Host header")
        if self._to.wants_upgrade():
            self.upgrading = True
            return
        self._to.locate()
        if self._to.at_once():
            self._hand_on()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self.arrived += len(body)
        if self._handed_on:
            self._to.on_body(body)
            return
        self._held += body
        if len(self._held) > HELD_BYTES:
            self.large = True
            self._hand_on()

    def on_message_complete(self) -> None:
        """The request is complete."""
        if self.upgrading:
            return
        self.in_body = False
        if not self._handed_on:
            self._hand_on()
        self._to.on_message_complete()

    def _hand_on(self) -> None:
        self._handed_on = True
        self._to.on_headers_complete()
        if self._held:
            self._to.on_body(bytes(self._held))
            self._held.clear()

    def _head_too_large(self) -> None:
        detail = f"address and headers may have {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} headers at most; send less"
        self._refuse("bad_request", detail)

    def _refuse(self, code: str, detail: str) -> None:
        self.problem = Problem(code, detail)
        raise Refused(detail)
