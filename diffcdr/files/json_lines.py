"""JSON lines -> a frame of text columns. A broken line is marked and affects no other.

The parser refuses a whole input for one line it cannot read. So a file that it refuses is read again in slices, and a
slice that it refuses is halved until few lines are left; only those are looked at one by one.
"""

from __future__ import annotations

import glob
import io
import json
import math
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from diffcdr.files.archives import open_unpacked
from diffcdr.files.encodings import UTF8, open_text
from diffcdr.files.json_records import Shape, first_wins, records

BROKEN = "__broken_row"
"""Column of :func:`scan_json`, where it is there: true for a line that is not a JSON object, all else null then."""
BROKEN_TEXT = "__broken_text"
"""Column beside it: how the broken line begins."""

_SLICE_BYTES = 4 << 20
_FEW_LINES = 16
_RECORDS = 50_000


def scan_json(file: Path, keys: Sequence[str], *, shape: Shape = Shape.lines, encoding: str = UTF8) -> pl.LazyFrame:
    """The values of ``keys`` as text, one row a line that is not blank, in file order; null where there is none.

    A key with points (``user.id``) is that of a field within a record; the column has the same name.

    Raises:
        UNPACKING_ERRORS, UnicodeDecodeError, PolarsError: the file cannot be read.
        ValueError: an array, or records over several lines, that end too soon.
    """
    if shape is not Shape.lines:
        return pl.concat(
            [_of_records([], keys), *(_of_records(part, keys) for part in _portions(file, shape, encoding))]
        ).lazy()
    if encoding == UTF8 and not file.name.lower().endswith((".bz2", ".xz", ".zip", ".zst", ".zstd")):
        try:
            return (
                _fields(pl.scan_ndjson(glob.escape(str(file)), schema=_schema(keys)), keys)
                .collect(engine="streaming")
                .lazy()
            )
        except pl.exceptions.ComputeError:
            pass
    return pl.concat([_parse(lines, keys) for lines in _slices(file, encoding)]).lazy()


def _slices(file: Path, encoding: str) -> Iterator[list[bytes]]:
    """The lines of ``file``, unpacked, as UTF-8, about ``_SLICE_BYTES`` at a time."""
    with open_unpacked(file) as stream:
        if encoding == UTF8:
            while lines := stream.readlines(_SLICE_BYTES):
                yield lines
        else:
            with open_text(stream, encoding) as text:
                while texts := text.readlines(_SLICE_BYTES):
                    yield [line.encode("utf-8", "replace") for line in texts]


def _portions(file: Path, shape: Shape, encoding: str) -> Iterator[list[dict[str, Any]]]:
    with open_unpacked(file) as stream, open_text(stream, encoding) as text:
        portion: list[dict[str, Any]] = []
        for record in records(text, shape):
            portion.append(record)
            if len(portion) == _RECORDS:
                yield portion
                portion = []
        yield portion


def _parse(lines: Sequence[bytes], keys: Sequence[str]) -> pl.DataFrame:
    try:
        return _marked(_read(b"".join(lines), keys))
    except PolarsError:
        if len(lines) <= _FEW_LINES:
            return _one_by_one(lines, keys)
        middle = len(lines) // 2
        return pl.concat([_parse(lines[:middle], keys), _parse(lines[middle:], keys)])


def _one_by_one(lines: Sequence[bytes], keys: Sequence[str]) -> pl.DataFrame:
    # Bytes that are not UTF-8 may stand in a review's text, where they do no harm.
    texts = [line.decode("utf-8", "replace").strip().encode() for line in lines]
    texts = [text for text in texts if text]
    usable = [_usable(text, keys) for text in texts]
    good = _read(b"\n".join(text for text in usable if text is not None), keys)
    at = [
        number - 1 if text is not None else None
        for number, text in zip(accumulate(text is not None for text in usable), usable, strict=True)
    ]
    broken = [text is None for text in usable]
    shown = [
        None if fine is not None else text[:200].decode("utf-8", "replace")
        for text, fine in zip(texts, usable, strict=True)
    ]
    return good.select(pl.all().gather(pl.Series(at, dtype=pl.UInt32))).with_columns(
        pl.Series(BROKEN, broken, dtype=pl.Boolean), pl.Series(BROKEN_TEXT, shown, dtype=pl.String)
    )


def _usable(text: bytes, keys: Sequence[str]) -> bytes | None:
    """``text``, one line, as the parser takes it; None where it is no object.

    Python's own parser answers first: where both fail, it fails sooner; and it knows NaN, which some programs write.
    """
    try:
        record = json.loads(text, object_pairs_hook=first_wins)
        if not isinstance(record, dict):
            return None
    except (ValueError, RecursionError):
        return None
    try:
        _read(text, keys)
    except PolarsError:
        return _dumped(record, keys)
    return text


def _dumped(record: dict[str, Any], keys: Sequence[str]) -> bytes:
    """The ``keys`` of ``record`` as a line that the parser takes, NaN as null."""

    def value(key: str) -> Any:
        found: Any = record
        for name in [key] if key in record else key.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        return _finite(found)

    line: dict[str, Any] = {}
    for key in keys:
        *path, last = [key] if key in record else key.split(".")
        place = line
        for name in path:
            place = place.setdefault(name, {})
        place[last] = value(key)
    return json.dumps(line).encode()


def _finite(value: Any) -> Any:
    """``value`` with null for what JSON cannot say; the parser makes text of it, as of every other."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    # A Python dictionary may hold bytes or a set.
    return value if value is None or isinstance(value, str | int) else str(value)


def _of_records(portion: Sequence[dict[str, Any]], keys: Sequence[str]) -> pl.DataFrame:
    return _marked(_read(b"\n".join(_dumped(record, keys) for record in portion), keys))


def _marked(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.lit(False).alias(BROKEN), pl.lit(None, dtype=pl.String).alias(BROKEN_TEXT))


def _read(text: bytes, keys: Sequence[str]) -> pl.DataFrame:
    return _fields(pl.read_ndjson(io.BytesIO(text), schema=_schema(keys)).lazy(), keys).collect()


def _fields(lazy: pl.LazyFrame, keys: Sequence[str]) -> pl.LazyFrame:
    return lazy.select(field_of(key).alias(key) for key in keys)


def field_of(name: str) -> pl.Expr:
    """The column ``name``, or with points the field within it."""
    first, *rest = name.split(".")
    expression = pl.col(first)
    for inner in rest:
        expression = expression.struct.field(inner)
    return expression


def _schema(keys: Sequence[str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key in keys:
        *path, last = key.split(".")
        place = tree
        for name in path:
            inner = place.setdefault(name, {})
            place = inner if isinstance(inner, dict) else place
        place.setdefault(last, None)

    def kind(node: dict[str, Any] | None) -> Any:
        return pl.String if node is None else pl.Struct({name: kind(inner) for name, inner in node.items()})

    return {name: kind(node) for name, node in tree.items()}
