"""The shapes of JSON files, and the readers for records that are not one per line: arrays, multi-line objects."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Protocol, TextIO

_LOOKAHEAD_LINES = 1000
_BLOCK = 1 << 20


class Readable(Protocol):
    """Text that is read forward."""

    def read(self, size: int, /) -> str:
        """At most ``size`` characters; none at the end."""
        ...


class Shape(StrEnum):
    """How the records are laid out."""

    lines = "one object a line"
    array = "an array of objects"
    python = "one Python dictionary a line"


def look(text: TextIO, *, least: int) -> tuple[Shape, list[dict[str, Any]]]:
    """The shape of ``text``, and records of its first lines: of at least ``least`` characters, however long each is."""
    first = next((line for line in text if line.strip()), "")
    start = first.strip()
    if start == "{" or (start.startswith("[") and not _is_whole_json(start)) or _is_array_of_objects(start):
        return Shape.array, _first_records(_Chained(first, text))
    if start.startswith("{") and not _is_whole_json(start) and _literal(start) is not None:
        shape, parse = Shape.python, _literal
    else:
        shape, parse = Shape.lines, _object
    found, size, line = [], 0, first
    for _ in range(_LOOKAHEAD_LINES):
        if (record := parse(line)) is not None:
            found.append(record)
        size += len(line)
        if size >= least and found:
            break
        if not (line := text.readline()):
            break
    if len(found) == 1 and (inner := _only_list(found[0])) is not None:
        return Shape.array, inner
    return shape, found


def records(text: TextIO, shape: Shape) -> Iterator[dict[str, Any]]:
    """The records of ``text``, an array, objects over several lines, or Python dictionaries.

    An object with one list of objects, and nothing after it, stands for that list.

    Raises:
        ValueError: it ends too soon, or something else stands between.
    """
    if shape is Shape.python:
        for line in text:
            if line.strip():
                yield _literal(line) or {}
    else:
        yield from _objects(text)


def first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object as the line parser reads it: the first value of a repeated key counts."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    return dict(reversed(pairs))


def _objects(text: Readable) -> Iterator[dict[str, Any]]:
    for value in _values(text):
        inner = _only_list(value)
        yield from inner if inner is not None else [value]


def _values(text: Readable) -> Iterator[Any]:
    """Each object of ``text``, inside a top-level array or one after the other; memory holds one at a time."""
    decoder, rest, ended = json.JSONDecoder(object_pairs_hook=first_wins), "", False
    while True:
        rest = rest.lstrip(" \t\r\n,[]\ufeff\x1e")
        try:
            value, end = decoder.raw_decode(rest)
        except ValueError:
            if ended:
                if rest:
                    raise ValueError(f"the JSON text ends too soon or is broken at {rest[:60]!r}") from None
                return
            block = text.read(max(_BLOCK, len(rest)))
            ended = not block
            rest += block
            continue
        if not ended and end == len(rest):
            # A number could go on in the next block.
            block = text.read(_BLOCK)
            ended = not block
            rest += block
            continue
        rest = rest[end:]
        if isinstance(value, dict):
            yield value


def _only_list(value: Any) -> list[dict[str, Any]] | None:
    if not isinstance(value, dict):
        return None
    lists = [inner for inner in value.values() if isinstance(inner, list) and inner and isinstance(inner[0], dict)]
    others = [inner for inner in value.values() if isinstance(inner, dict | list)]
    return lists[0] if len(lists) == 1 and len(others) == 1 and len(value) <= 3 else None


def _first_records(text: Readable) -> list[dict[str, Any]]:
    found = []
    try:
        for record in _objects(text):
            found.append(record)
            if len(found) == _LOOKAHEAD_LINES:
                break
    except ValueError:
        if not found:
            raise
    return found


def _object(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _literal(line: str) -> dict[str, Any] | None:
    try:
        record = ast.literal_eval(line.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return record if isinstance(record, dict) else None


def _is_whole_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _is_array_of_objects(text: str) -> bool:
    if not text.startswith("["):
        return False
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


class _Chained:
    """A line that was read, then the rest of the stream."""

    def __init__(self, first: str, text: TextIO) -> None:
        self._first, self._text = first, text

    def read(self, size: int) -> str:
        first, self._first = self._first, ""
        return first or self._text.read(size)
