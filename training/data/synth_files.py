"""Writes generated ratings in common file formats."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

import polars as pl

from diffcdr.errors import InputError
from training.data.synth import SynthData

_AMAZON = {"user_id": "reviewerID", "item_id": "asin", "rating": "overall", "timestamp": "unixReviewTime"}


class Format(StrEnum):
    """How the files are written."""

    parquet = "parquet"
    csv = "csv"
    amazon_json = "amazon-json"

    @property
    def ending(self) -> str:
        """Ending of the files' names."""
        return ".json.gz" if self is Format.amazon_json else f".{self.value}"


def write(data: SynthData, out: Path, *, file_format: Format) -> list[tuple[Path, pl.DataFrame]]:
    """Write ``films``, ``books``, ``film_items`` and ``book_items`` to ``out``; each appears whole or not at all.

    Returns:
        The paths written and what stands in them.

    Raises:
        InputError: ``out`` cannot be written.
    """
    frames = {
        "films": data.films.ratings,
        "books": data.books.ratings,
        "film_items": data.films.items.select("item_id", "title"),
        "book_items": data.books.items.select("item_id", "title"),
    }
    was_there = out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".synth.", dir=out))
        try:
            for name, frame in frames.items():
                _write_frame(frame, staging / f"{name}{file_format.ending}", file_format)
            # Only once all four are on disk do they take their names.
            for name in frames:
                os.replace(staging / f"{name}{file_format.ending}", out / f"{name}{file_format.ending}")
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except (OSError, pl.exceptions.ComputeError) as error:  # polars wraps some of what the system says
        if not was_there:
            with suppress(OSError):
                out.rmdir()
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InputError(f"cannot write to {out}: {reason}; choose another --out folder") from error
    return [(out / f"{name}{file_format.ending}", frame) for name, frame in frames.items()]


def _write_frame(frame: pl.DataFrame, path: Path, file_format: Format) -> None:
    with path.open("wb") as file:
        match file_format:
            case Format.parquet:
                frame.write_parquet(file)
            case Format.csv:
                frame.write_csv(file)
            case Format.amazon_json:
                renamed = frame.rename({name: new for name, new in _AMAZON.items() if name in frame.columns})
                # No time stamp in the header: the same data makes the same bytes.
                with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=3, mtime=0) as zipped:
                    for part in renamed.iter_slices(200_000):
                        zipped.write(part.write_ndjson().encode())
        file.flush()
        os.fsync(file.fileno())
