"""Splits the body of a batch into one text per user, wherever the chunks begin and end."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator

from service.edge.problems import Problem

TOO_LONG = None
"""Stands for an entry beyond the size limit, whose text was thrown away."""

MAX_DEPTH = 64
"""Lists and objects within each other, the list of users included; a user has three."""

_BLANK = b" \t\r\n"
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|["\[\]{},]', re.DOTALL)
"""A whole string, or a mark outside of strings; a lone quote begins a string that has not ended yet."""


async def ndjson_entries(parts: AsyncIterator[bytes], *, max_bytes: int) -> AsyncIterator[bytes | None]:
    """The non-blank lines of an NDJSON body; ``TOO_LONG`` in place of each line above ``max_bytes`` bytes."""
    rest = b""
    skipping = False
    async for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if skipping or len(line) > max_bytes:
                skipping = False
                yield TOO_LONG
            elif line.strip(_BLANK):
                yield line
        if len(rest) > max_bytes:
            skipping, rest = True, b""
    if skipping or len(rest) > max_bytes:
        yield TOO_LONG
    elif rest.strip(_BLANK):
        yield rest


async def list_entries(parts: AsyncIterator[bytes], *, max_bytes: int) -> AsyncIterator[bytes | None]:
    """The elements of a JSON list as text; ``TOO_LONG`` in place of each element above ``max_bytes`` bytes.

    Only where elements begin and end is looked at. Each is parsed by whoever takes it, like the body of a request
    about one user, so that a bad element spoils nothing but itself.

    Raises:
        Problem: 400 where the list never closes or something follows it, 422 where the body is not a list.
    """
    cutter = _ListCutter(max_bytes)
    async for part in parts:
        for element in cutter.feed(part):
            yield element
    cutter.finish()


class _ListCutter:
    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._text = b""
        """The element that is still arriving, from its beginning unless it is too long already."""
        self._scanned = 0
        self._depth = 0
        self._elements = 0
        self._too_long = False
        self._closed = False

    def feed(self, part: bytes) -> Iterator[bytes | None]:
        """The elements that end in ``part``."""
        text = self._open(self._text + part)
        start = 0
        while not self._closed and (token := _TOKEN.search(text, self._scanned)):
            kind = token[0]
            if kind == b'"':
                # A string that has not ended yet: look again when there is more.
                self._scanned = token.start()
                break
            self._scanned = token.end()
            if kind in (b"[", b"{"):
                self._depth += 1
                if self._depth > MAX_DEPTH:
                    raise Problem("invalid_request", f"lists and objects are nested more than {MAX_DEPTH} deep")
            elif kind in (b"]", b"}"):
                self._depth -= 1
                self._closed = self._depth == 0
            if self._closed or (kind == b"," and self._depth == 1):
                yield from self._element(text[start : token.start()], closing=kind)
                start = token.end()
        else:
            self._scanned = len(text)
        self._keep(text[start:], start)

    def finish(self) -> None:
        """Check that the list is whole."""
        if not self._closed or self._text.strip(_BLANK):
            raise Problem("malformed_json", "the body is not one complete JSON list; send one, or NDJSON")

    def _open(self, text: bytes) -> bytes:
        """``text`` after the bracket that opens the list."""
        start = text.lstrip(_BLANK)
        if self._depth or self._closed or not start:
            return text
        if not start.startswith(b"["):
            raise Problem("invalid_request", "the body must be a JSON list; one user goes to /v1/recommendations")
        self._depth = 1
        return start[1:]

    def _element(self, text: bytes, *, closing: bytes) -> Iterator[bytes | None]:
        empty_list = closing == b"]" and not self._elements
        if closing == b"}" or not (text.strip(_BLANK) or self._too_long or empty_list):
            raise Problem("malformed_json", "the body is not a JSON list; a bracket or comma is out of place")
        self._elements += 1
        if self._too_long or len(text) > self._max_bytes:
            self._too_long = False
            yield TOO_LONG
        elif text.strip(_BLANK):
            yield text

    def _keep(self, text: bytes, start: int) -> None:
        """Hold on to an unfinished element; of one that is too long, only to what is not scanned yet."""
        self._text, self._scanned = text, max(0, self._scanned - start)
        if len(text) > self._max_bytes:
            self._too_long = True
            self._text, self._scanned = text[self._scanned :], 0
        if len(self._text) > self._max_bytes:
            raise Problem("invalid_request", f"a string in the list has more than {self._max_bytes} bytes")
