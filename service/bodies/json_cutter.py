"""Goes through a JSON text from value to value and cuts it there, without reading the values."""

from __future__ import annotations

import re

from service.edge.problems import FieldError, Problem

Text = bytes | bytearray

PIECE_BYTES = 16 << 10
"""Most bytes of a value that is no list, and of an element of a list: three ids, each character an escape, fit."""

_BLANK = re.compile(rb"[ \t\r\n]*")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_RUN = re.compile(rb'"[^"\\]{1,256}"(?:[ \t\r\n]{0,8},[ \t\r\n]{0,8}"[^"\\]{1,256}"){1,511}')
"""Several strings without escapes, one after the other in a list: up to 512, some 140 KB."""
_WORD = re.compile(rb"[^,\]}\s]+")
_NESTING = re.compile(rb'"(?:[^"\\]|\\.)*"|["\[\]{}]', re.DOTALL)


class Cutter:
    """Goes through a JSON text from value to value, without reading them."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self._at = 0

    def peek(self) -> bytes:
        """The next byte that is not white space; empty at the end."""
        while (blank := _BLANK.match(self._text, self._at, self._at + PIECE_BYTES)) and blank.end() > self._at:
            self._at = blank.end()
        return bytes(self._text[self._at : self._at + 1])

    def take(self, mark: bytes) -> None:
        """Consume ``mark``, which must come next."""
        if self.peek() != mark:
            raise malformed()
        self._at += 1

    def ends(self, mark: bytes, *, first: bool) -> bool:
        """Consume ``mark`` if it comes next, else the comma before another element (the first one has none)."""
        if self.peek() == mark:
            self._at += 1
            return True
        if not first:
            self.take(b",")
            if self.peek() == mark:
                raise malformed()
        return False

    def key(self) -> bytes:
        """The key of a member, quotes included, and the colon after it."""
        self.peek()
        found = _STRING.match(self._text, self._at, self._at + PIECE_BYTES)
        if found is None:
            raise malformed()
        self._at = found.end()
        self.take(b":")
        return found[0]

    def value(self, pointer: str, limit: int) -> bytes:
        """The text of the next value. Raises Problem 422 beyond ``limit`` bytes."""
        kind, start = self.peek(), self._at
        stop = min(start + limit, len(self._text))
        if kind == b'"':
            found = _STRING.match(self._text, start, stop)
            end = found.end() if found else -1
        elif kind in (b"[", b"{"):
            end = self._nested_end(start, stop)
        else:
            found = _WORD.match(self._text, start, stop)
            end = found.end() if found else -1
        if end < 0 or (end == stop < len(self._text) and kind not in (b'"', b"[", b"{")):
            if stop < len(self._text):
                raise invalid(pointer, f"a value here may have {limit} bytes at most")
            raise malformed()
        self._at = end
        return bytes(self._text[start:end])

    def run(self) -> bytes | None:
        """The text of several plain strings with commas between, where such stand next."""
        self.peek()
        found = _RUN.match(self._text, self._at)
        return None if found is None else found[0]

    def skip(self, length: int) -> None:
        """Pass ``length`` bytes that were looked at."""
        self._at += length

    def finish(self) -> None:
        """Check that nothing follows."""
        if self.peek():
            raise malformed()

    def _nested_end(self, start: int, stop: int) -> int:
        """After the bracket that closes the one at ``start``; -1 if that is not before ``stop``."""
        close = self._text.find(b"]", start, stop)
        if self._text[start : start + 1] == b"[" and close > 0:
            # A flat list of numbers: by far the most there is to read.
            inside = bytes(self._text[start + 1 : close])
            if not any(mark in inside for mark in (b"[", b"{", b'"')):
                return close + 1
        depth, at = 0, start
        while mark := _NESTING.search(self._text, at, stop):
            if mark[0] == b'"':
                return -1  # a string that does not end
            depth += (mark[0] in (b"[", b"{")) - (mark[0] in (b"]", b"}"))
            at = mark.end()
            if not depth:
                return at
        return -1


def invalid(pointer: str, detail: str) -> Problem:
    """422: the value at ``pointer`` is wrong."""
    return Problem(
        "invalid_request", f"{pointer or 'body'}: {detail}", errors=[FieldError(pointer=pointer, detail=detail)]
    )


def malformed() -> Problem:
    """400: the text is not JSON."""
    return Problem(
        "malformed_json",
        "a bracket, comma, colon or key is missing or out of place; send one valid JSON object in UTF-8",
    )
