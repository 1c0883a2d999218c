"""JSON lines -> a frame of text columns; a broken line is marked, and costs little more than itself.

The parser refuses a whole input for one line it cannot read. So a file that it refuses is read again in slices, and a
slice that it refuses is halved until few lines are left; only those are looked at one by one.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

BROKEN = "__broken_row"
"""Column of :func:`scan_json`, where it is there: true for a line that is not a JSON object, all else null then."""

_SLICE_BYTES = 4 << 20
_FEW_LINES = 16


def scan_json(file: Path, keys: Sequence[str]) -> pl.LazyFrame:
    """The values of ``keys`` as text, one row a line that is not blank, in file order; null where there is none.

    Raises:
        OSError, EOFError, zlib.error, PolarsError: the file cannot be read.
    """
    try:
        return pl.scan_ndjson(file, schema=_schema(keys)).collect(engine="streaming").lazy()
    except pl.exceptions.ComputeError:
        return pl.concat([_parse(lines, keys) for lines in _slices(file)]).lazy()


def _slices(file: Path) -> Iterator[list[bytes]]:
    """The lines of ``file``, unzipped, about ``_SLICE_BYTES`` at a time."""
    with file.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        # The outer buffer makes reading by the line cheap.
        stream = io.BufferedReader(gzip.GzipFile(fileobj=raw), 1 << 20) if zipped else raw
        while lines := stream.readlines(_SLICE_BYTES):
            yield lines


def _parse(lines: Sequence[bytes], keys: Sequence[str]) -> pl.DataFrame:
    try:
        return _read(b"".join(lines), keys).with_columns(pl.lit(False).alias(BROKEN))
    except PolarsError:
        if len(lines) <= _FEW_LINES:
            return _one_by_one(lines, keys)
        middle = len(lines) // 2
        return pl.concat([_parse(lines[:middle], keys), _parse(lines[middle:], keys)])


def _one_by_one(lines: Sequence[bytes], keys: Sequence[str]) -> pl.DataFrame:
    # Bytes that are not UTF-8 may stand in a review's text, where they do no harm.
    texts = [line.decode("utf-8", "replace").removeprefix("\ufeff").strip().encode() for line in lines]
    texts = [text for text in texts if text]
    whole = [_is_object(text, keys) for text in texts]
    good = _read(b"\n".join(text for text, is_whole in zip(texts, whole, strict=True) if is_whole), keys)
    at = [number - 1 if is_whole else None for number, is_whole in zip(accumulate(whole), whole, strict=True)]
    return good.select(pl.all().gather(pl.Series(at, dtype=pl.UInt32))).with_columns(
        pl.Series(BROKEN, [not is_whole for is_whole in whole], dtype=pl.Boolean)
    )


def _is_object(text: bytes, keys: Sequence[str]) -> bool:
    """Whether the parser takes ``text``, one line. Python's own answers first: where it fails, it fails sooner."""
    try:
        json.loads(text)
        _read(text, keys)
    except (ValueError, RecursionError, PolarsError):
        return False
    return True


def _read(text: bytes, keys: Sequence[str]) -> pl.DataFrame:
    return pl.read_ndjson(io.BytesIO(text), schema=_schema(keys))


def _schema(keys: Sequence[str]) -> dict[str, type[pl.String]]:
    return dict.fromkeys(keys, pl.String)
