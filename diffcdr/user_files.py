"""Files that list users: one id a row, in every form that commands take."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl

from diffcdr.errors import InputError

USER_COLUMN = "user_id"


def read_users(path: Path) -> tuple[pl.Series, int]:
    """User ids from a file, in its order, each once, and how many lines were left out as empty or repeated.

    Parquet and CSV or TSV (by file name, ``.gz`` too) are read by their column ``user_id``; anything else as text,
    one id a line, unless its first line is the header of a table that begins with ``user_id``.

    Raises:
        InputError: the file cannot be read, or has no such column.
    """
    try:
        ids = _read_column(path)
    except (OSError, EOFError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"cannot read users from {path}: {reason}") from error
    kept = ids.drop_nulls()
    kept = kept.filter(kept != "").unique(maintain_order=True)
    return kept.rename(USER_COLUMN), len(ids) - len(kept)


def _read_column(path: Path) -> pl.Series:
    kind = path.name.removesuffix(".gz").rpartition(".")[2].lower()
    if kind not in ("parquet", "csv", "tsv"):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        lines = content.decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n").split("\n") if content else []
        if lines and lines[0].startswith(f"{USER_COLUMN},"):
            # Read as lines, no id would be anybody's, and a list of people to leave out would leave out nobody.
            return pl.read_csv(content, infer_schema=False)[USER_COLUMN]
        return pl.Series(USER_COLUMN, lines[1:] if lines[:1] == [USER_COLUMN] else lines, dtype=pl.String)
    if kind == "parquet":
        frame = pl.scan_parquet(path)
    else:
        frame = pl.scan_csv(path, separator="\t" if kind == "tsv" else ",", infer_schema=False)
    names = frame.collect_schema().names()
    if USER_COLUMN not in names:
        raise InputError(f"{path} has no column {USER_COLUMN} (its columns: {', '.join(names)}); rename one")
    return frame.select(pl.col(USER_COLUMN).cast(pl.String)).collect()[USER_COLUMN]
