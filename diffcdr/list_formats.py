"""Writes ranked lists as Parquet, CSV or JSON lines, by the ending of the file name."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import polars as pl

from diffcdr.errors import InputError

ListFormat = Literal["parquet", "csv", "jsonl"]


def format_of(out: Path, *, nested: bool) -> ListFormat:
    """The format that the ending of ``out`` stands for; ``nested``: rows hold lists.

    Raises:
        InputError: ``out`` is a directory, its ending is of none, or CSV has no place for lists.
    """
    if out.is_dir():
        raise InputError(f"{out} is a directory; give the name of a file with --out")
    ending = out.suffix.removeprefix(".").lower()
    for known in get_args(ListFormat):
        if ending == known:
            if nested and known == "csv":
                raise InputError(f"--out {out}: CSV cannot hold lists in a row; leave out --lists, or use .jsonl")
            return known  # type: ignore[no-any-return]
    raise InputError(f"--out {out}: the file extension selects the format; use .parquet, .csv or .jsonl")


def write_lists(rows: pl.LazyFrame, path: Path, kind: ListFormat) -> None:
    """Stream ``rows`` to ``path``. Raises OSError or a polars error where that fails."""
    if kind == "parquet":
        rows.sink_parquet(path, compression="zstd", row_group_size=1_000_000)
    elif kind == "csv":
        rows.sink_csv(path)
    else:
        rows.sink_ndjson(path)
