"""Rating files -> one frame, every row kept and bad ones marked; memory is bounded by the columns kept.

What files there are and how they are read is :mod:`diffcdr.files`; what ids, ratings and times mean is here. Nothing is
dropped: :mod:`training.data.cleaning` does that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import polars as pl

from diffcdr.atomic import file_sha256
from diffcdr.errors import InputError
from diffcdr.files.archives import packing
from diffcdr.files.columns import Columns, Roles
from diffcdr.files.folders import Part, joined_sha256, parts
from diffcdr.files.id_rule import NO_ID, apply_rule
from diffcdr.files.json_lines import BROKEN, BROKEN_TEXT
from diffcdr.files.reading import PARQUET, Reading, Table, read_table
from training.data.times import understand

DEFECTS = pl.Enum(["broken_row", "id_not_exact", "rating_not_a_number"])

_TEXT = (pl.String, pl.Categorical, pl.Enum, pl.Binary)
_SHOWN = 80


@dataclass(frozen=True)
class RawRatings:
    """Every record of a rating file, in file order.

    ``frame``: ``user_id`` and ``item_id`` str, by the rule of :mod:`diffcdr.files.id_rule`; ``rating`` f64;
    ``timestamp`` i64 (null where unknown), see :mod:`training.data.times`; ``defect``, one of ``DEFECTS`` where the
    reader could not make sense of the record, else null. Columns that may be left out: ``text``, what could not be
    understood, for messages; ``time_text``, a time that was not; ``has_time``, whether the file has a column for it.
    ``name``: the file's base name; ``sha256``: of its bytes (for a folder: of its parts' names and hashes); ``how``:
    what was recognised, of a folder's first part; ``noted``: counts by keys of ``NOTES``.
    """

    frame: pl.DataFrame
    name: str
    sha256: str
    how: Mapping[str, str] = field(default_factory=dict)
    noted: Mapping[str, int] = field(default_factory=dict)

    @property
    def rows_read(self) -> int:
        """Records in the file, without header and blank lines of JSON."""
        return self.frame.height

    @property
    def unparsable(self) -> int:
        """Records the reader could not make sense of."""
        return self.frame.height - self.frame["defect"].null_count()


@dataclass(frozen=True)
class PartRatings:
    """Of one part of a rating file: ``frame`` as :attr:`RawRatings.frame`, and what was noted and recognised."""

    frame: pl.DataFrame
    noted: dict[str, int]
    how: Mapping[str, str]


def read_ratings(path: Path, *, reading: Reading | None = None, columns: Columns | None = None) -> RawRatings:
    """Read the ratings at ``path`` (a file, or a folder of parts).

    ``columns``: short for a ``reading`` of these columns.

    Raises:
        InputError: missing, unreadable, empty, truncated or binary; or its columns are not found.
    """
    reading = reading or Reading(columns=columns or Columns())
    files = parts(path)
    check_alike(files, reading=reading)
    read = [read_part(file, reading=reading) for file in files]
    frame = pl.concat([part.frame for part in read])
    if not frame.height:
        raise no_ratings(path)
    noted = {note: sum(part.noted.get(note, 0) for part in read) for part in read for note in part.noted}
    digests = (file_sha256(part.file) for part in files)
    return RawRatings(
        frame,
        name=path.absolute().name,
        sha256=joined_sha256(path, [part.file for part in files], digests),
        how=read[0].how,
        noted=noted,
    )


def read_part(part: Part, *, reading: Reading, rows: tuple[int, int] | None = None) -> PartRatings:
    """One part of a rating file; of Parquet, only ``rows`` (first, how many) if given.

    Raises:
        InputError: as :func:`read_ratings`, but for a part without ratings.
    """
    return read_table(part, rating_roles(reading), reading, partial(_normalise, rows=rows))


def is_parquet(part: Part) -> bool:
    """Whether ``part`` is a Parquet file that can be read by row groups. Raises InputError where it cannot be told."""
    return part.file.suffix.lower() in PARQUET and packing(part.file) is None


def check_alike(files: Sequence[Part], *, reading: Reading) -> None:
    """Compare the columns that hold ids in the Parquet files among ``files``, the parts of one rating file.

    A number in one part and text in another is no id that could be trusted: 7 and "007" may be one person or two.

    Raises:
        InputError: they are of different kinds, or a column is not found; the message names the file.
    """
    roles, first = rating_roles(reading), None
    for part in files:
        if is_parquet(part):
            kinds = read_table(part, roles, reading, _id_kinds)
            first = first or (part.file, kinds)
            if kinds != first[1]:
                role = next(role for role in kinds if kinds[role] != first[1][role])
                raise InputError(
                    f"{first[0]} and {part.file} differ: the {role} is {first[1][role]} in one and {kinds[role]} in "
                    "the other; write all parts with the same schema"
                )


def no_ratings(path: Path) -> InputError:
    """The error for a rating file without rows."""
    return InputError(f"{path} holds no ratings; give a file with one rating a row")


def rating_roles(reading: Reading) -> Roles:
    """The columns a rating file has."""
    return Roles(
        ("user", "item", "rating"), wished=("timestamp",), given=reading.columns.given(), option=reading.option
    )


def _id_kinds(table: Table) -> dict[str, str]:
    schema = table.lazy.collect_schema()

    def kind(held: pl.DataType) -> str:
        if held == pl.Null:
            return "a number"
        return "a number" if held.is_numeric() else "text" if isinstance(held, _TEXT) else str(held)

    return {role: kind(schema[table.names[role]]) for role in ("user", "item")}


def _normalise(table: Table, *, rows: tuple[int, int] | None) -> PartRatings:
    lazy = table.lazy if rows is None else table.lazy.slice(*rows)
    names = table.names
    there = lazy.collect_schema().names()
    broken = [BROKEN, BROKEN_TEXT] if BROKEN in there else []
    selected = lazy.select(
        *(pl.col(name).alias(role) for role, name in names.items()), *(pl.col(name) for name in broken)
    ).collect(engine="streaming")
    users, items = apply_rule(selected["user"]), apply_rule(selected["item"])
    rating, decimal_commas = _ratings(selected["rating"])
    text = selected["rating"].cast(pl.String) if not selected["rating"].dtype.is_numeric() else None
    frame = pl.DataFrame({"user_id": users.ids, "item_id": items.ids, "rating": rating.cast(pl.Float64)})
    defects = []
    if broken:
        defects.append((selected[BROKEN], "broken_row", selected[BROKEN_TEXT]))
    for ids, role in ((users, "user"), (items, "item")):
        if ids.inexact is not None:
            defects.append((ids.inexact, "id_not_exact", selected[role].cast(pl.String)))
    if text is not None:
        bad = frame["rating"].is_null()
        if bad.any():
            defects.append((bad & ~_empty(text), "rating_not_a_number", text))
    frame = frame.with_columns(*_timestamps(selected, "timestamp" in names), *_marks(frame.height, defects))
    noted = {f"ids_{what}": users.changed.get(what, 0) + items.changed.get(what, 0) for what in _CHANGES}
    noted["ratings_with_decimal_comma"] = decimal_commas
    order = ["user_id", "item_id", "rating", "timestamp", "defect", "text", "time_text", "has_time"]
    return PartRatings(frame.select(order), {note: count for note, count in noted.items() if count}, table.how)


_CHANGES = ("blanks_taken_off", "letters_composed", "floats_made_whole")


def _marks(height: int, defects: Sequence[tuple[pl.Series, str, pl.Series]]) -> list[pl.Series]:
    """``defect`` and ``text`` of each row, from (rows, defect, how they look), the first that holds."""
    empty = pl.DataFrame({"at": pl.repeat(None, height, dtype=pl.Null, eager=True)})
    defect, text = pl.lit(None, dtype=DEFECTS), pl.lit(None, dtype=pl.String)
    for rows, name, shown in reversed(defects):
        if rows.any():
            defect = pl.when(rows).then(pl.lit(name, dtype=DEFECTS)).otherwise(defect)
            text = pl.when(rows).then(shown.str.head(_SHOWN)).otherwise(text)
    made = empty.with_columns(defect.alias("defect"), text.alias("text"))
    return [made["defect"], made["text"]]


def _empty(text: pl.Series) -> pl.Series:
    bare = text.str.strip_chars()
    return (bare.is_null() | (bare == "") | bare.is_in(_NO_RATING)).fill_null(True)


# NaN is a number that is not finite, and counted as that.
_NO_RATING = sorted(word for word in NO_ID if word.lower() != "nan")


def _ratings(column: pl.Series) -> tuple[pl.Series, int]:
    """f64, null where there is no number; and how many had a decimal comma."""
    if column.dtype == pl.Boolean:
        return column.cast(pl.Float64), 0
    if column.dtype.is_numeric() or column.dtype == pl.Null:
        return column.cast(pl.Float64), 0
    numbers = column.cast(pl.String).cast(pl.Float64, strict=False)
    if numbers.null_count() == column.null_count():
        return numbers, 0
    text = column.cast(pl.String).str.strip_chars()
    numbers = text.cast(pl.Float64, strict=False)
    left = numbers.is_null() & text.is_not_null()
    if not left.any():
        return numbers, 0
    words = text.filter(left).str.to_lowercase()
    commas = words.str.contains(r"^[+-]?\d+,\d+$")
    others = (
        words.str.replace(",", ".", literal=True)
        .cast(pl.Float64, strict=False)
        .to_frame("n")
        .select(pl.when(commas).then(pl.col("n")).when(words == "true").then(1.0).when(words == "false").then(0.0))
        .to_series()
    )
    return numbers.scatter(left.arg_true(), others), int(commas.sum())


def _timestamps(selected: pl.DataFrame, there: bool) -> list[pl.Series]:
    height = selected.height
    if not there:
        return [
            pl.repeat(None, height, dtype=pl.Int64, eager=True).alias("timestamp"),
            pl.repeat(None, height, dtype=pl.String, eager=True).alias("time_text"),
            pl.repeat(False, height, dtype=pl.Boolean, eager=True).alias("has_time"),
        ]
    times = understand(selected["timestamp"])
    shown = pl.repeat(None, height, dtype=pl.String, eager=True)
    if times.not_understood.any():
        at = times.not_understood.arg_true()
        shown = shown.scatter(at, selected["timestamp"].gather(at).cast(pl.String).str.head(_SHOWN))
    return [
        times.times.alias("timestamp"),
        shown.alias("time_text"),
        pl.repeat(True, height, dtype=pl.Boolean, eager=True).alias("has_time"),
    ]
