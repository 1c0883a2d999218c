"""Rating files -> one frame, every row kept and bad ones marked; memory is bounded by the columns kept.

Parquet, CSV/TSV (with or without header), JSON lines as Amazon publishes its reviews, RecBole ``.inter``; text may
be gzipped; a folder is read as one file in parts. Nothing is dropped here: :mod:`training.data.cleaning` does that.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import polars as pl
from polars.exceptions import PanicException, PolarsError

from diffcdr.atomic import file_sha256
from diffcdr.errors import InputError
from training.data.columns import Columns, looks_like_header, resolve
from training.data.jsonlines import BROKEN, scan_json
from training.data.parts import joined_sha256, parts

PARQUET = (".parquet", ".pq")
DELIMITED = (".csv", ".tsv", ".txt", ".dat", ".inter")
JSON_LINES = (".json", ".jsonl", ".ndjson")

DEFECTS = pl.Enum(["broken_row", "rating_not_a_number"])

_HEAD_BYTES = 1 << 16
_JSON_LOOKAHEAD = 1000

_TEXT = (pl.String, pl.Categorical, pl.Enum, pl.Binary)

T = TypeVar("T")


@dataclass(frozen=True)
class _Roles:
    """What a file must have, what is welcome, and what the caller named."""

    needed: Sequence[str]
    wished: Sequence[str] = ()
    given: Mapping[str, str] = field(default_factory=dict)

    def resolve(self, found: Sequence[str], file: Path) -> dict[str, str]:
        return resolve(found, needed=self.needed, wished=self.wished, given=self.given, file=str(file))


@dataclass(frozen=True)
class RawRatings:
    """Every record of a rating file, in file order.

    ``frame``: ``user_id`` str, ``item_id`` str, ``rating`` f64, ``timestamp`` i64 (null where unknown) and
    ``defect``, one of ``DEFECTS`` where the reader could not make sense of the record, else null.
    ``name``: the file's base name; ``sha256``: of its bytes (for a folder: of its parts' names and hashes).
    """

    frame: pl.DataFrame
    name: str
    sha256: str

    @property
    def rows_read(self) -> int:
        """Records in the file, without header and blank lines of JSON."""
        return self.frame.height

    @property
    def unparsable(self) -> int:
        """Records the reader could not make sense of."""
        return self.frame.height - self.frame["defect"].null_count()


def read_ratings(path: Path, *, columns: Columns | None = None) -> RawRatings:
    """Read the ratings at ``path`` (a file, or a folder of parts).

    Raises:
        InputError: missing, unreadable, empty, truncated or binary; or its columns are not found.
    """
    files = parts(path)
    check_alike(files, columns=columns)
    frame = pl.concat([read_part(file, columns=columns) for file in files])
    if not frame.height:
        raise no_ratings(path)
    return RawRatings(frame, name=path.absolute().name, sha256=joined_sha256(path, files, map(file_sha256, files)))


def read_part(file: Path, *, columns: Columns | None = None, rows: tuple[int, int] | None = None) -> pl.DataFrame:
    """One part of a rating file, as :attr:`RawRatings.frame`; of Parquet, only ``rows`` (first, how many) if given.

    Raises:
        InputError: as :func:`read_ratings`, but for a part without ratings.
    """
    return _read_guarded(file, _rating_roles(columns), partial(_normalise, rows=rows))


def check_alike(files: Sequence[Path], *, columns: Columns | None = None) -> None:
    """Compare the columns that hold ids in the Parquet files among ``files``, the parts of one rating file.

    A whole number in one part and a float or text in another is no id that could be trusted: 7 becomes "7" here and
    "7.0" there, and one person two.

    Raises:
        InputError: they are of different kinds, or a column is not found; the message names the file.
    """
    roles, first = _rating_roles(columns), None
    for file in files:
        if _kind(file) in PARQUET:
            kinds = _read_guarded(file, roles, _id_kinds)
            first = first or (file, kinds)
            if kinds != first[1]:
                role = next(role for role in kinds if kinds[role] != first[1][role])
                raise InputError(
                    f"{first[0]} and {file} differ: the {role} is {first[1][role]} in one and {kinds[role]} in the "
                    "other; write all parts with the same schema"
                )


def no_ratings(path: Path) -> InputError:
    """The error for a rating file without rows."""
    return InputError(f"{path} holds no ratings; give a file with one rating a row")


def read_titles(path: Path) -> pl.DataFrame:
    """Read an item file: ``item_id`` str, ``title`` str; rows without either are left out.

    Raises:
        InputError: as :func:`read_ratings`.
    """

    def select(lazy: pl.LazyFrame, names: Mapping[str, str]) -> pl.DataFrame:
        item, title = (pl.col(names[role]).cast(pl.String) for role in ("item", "title"))
        return lazy.select(item.alias("item_id"), title.alias("title")).drop_nulls().collect(engine="streaming")

    return pl.concat([_read_guarded(file, _Roles(("item", "title")), select) for file in parts(path)])


def _rating_roles(columns: Columns | None) -> _Roles:
    return _Roles(("user", "item", "rating"), wished=("timestamp",), given=(columns or Columns()).given())


def _id_kinds(lazy: pl.LazyFrame, names: Mapping[str, str]) -> dict[str, str]:
    schema = lazy.collect_schema()

    def kind(name: str) -> str:
        held = schema[name]
        return "a whole number" if held.is_integer() else "text" if isinstance(held, _TEXT) else str(held)

    return {role: kind(names[role]) for role in ("user", "item")}


def _read_guarded(file: Path, roles: _Roles, select: Callable[[pl.LazyFrame, Mapping[str, str]], T]) -> T:
    """Read ``file``, turning whatever a damaged one makes the libraries raise into one clear error."""
    try:
        if not file.stat().st_size:
            raise InputError(f"{file} is empty; give a file with one record a row")
        try:
            return select(*_scan(file, roles, quote='"'))
        except pl.exceptions.ComputeError:
            if _kind(file) not in DELIMITED:
                raise
            # A lone quotation mark, in a title say, is a character like any other.
            return select(*_scan(file, roles, quote=None))
    except (OSError, EOFError, zlib.error, PolarsError, PanicException) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(
            f"{file} cannot be read ({reason}); it may be damaged, cut short, or not of the kind its name says: "
            "copy or export it again"
        ) from error


def _kind(file: Path) -> str:
    suffixes = [suffix.lower() for suffix in file.suffixes]
    kind = next((suffix for suffix in reversed(suffixes) if suffix != ".gz"), "")
    if kind not in PARQUET + DELIMITED + JSON_LINES:
        known = " ".join(PARQUET + DELIMITED + JSON_LINES)
        raise InputError(f"{file} has an ending that is not known; known are {known}, text also with .gz")
    return kind


def _scan(file: Path, roles: _Roles, *, quote: str | None) -> tuple[pl.LazyFrame, Mapping[str, str]]:
    """The file, not yet read, and the name its column of each role has."""
    kind = _kind(file)
    if kind in PARQUET:
        lazy = pl.scan_parquet(file, glob=False)
        return lazy, roles.resolve(lazy.collect_schema().names(), file)
    head = _head(file)
    if kind in JSON_LINES:
        names = roles.resolve(_json_keys(head, file), file)
        return scan_json(file, list(dict.fromkeys(names.values()))), names
    return _scan_delimited(file, roles, head=head, quote=quote)


def _head(file: Path) -> str:
    """The first lines, whole where the file is longer than the look-ahead. Refuses what is not text."""
    with file.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if zipped:
            with gzip.open(raw) as unzipped:
                start = unzipped.read(_HEAD_BYTES)
        else:
            start = raw.read(_HEAD_BYTES)
    if not start.strip():
        raise InputError(f"{file} is empty; give a file with one rating a row")
    if sum(byte < 32 and byte not in b"\t\n\f\r" for byte in start[:1024]) > 0.05 * len(start[:1024]):
        raise InputError(f"{file} is not text; give CSV, TSV or JSON lines (or name a Parquet file .parquet)")
    return start.decode("utf-8-sig", "replace")


def _scan_delimited(
    file: Path, roles: _Roles, *, head: str, quote: str | None
) -> tuple[pl.LazyFrame, Mapping[str, str]]:
    line = head.lstrip("\r\n").split("\n", 1)[0]
    separator = "\t" if _kind(file) in (".tsv", ".inter") else max(",\t;|", key=line.count)

    def scan(*, header: bool) -> pl.LazyFrame:
        lazy = pl.scan_csv(
            file,
            has_header=header,
            separator=separator,
            quote_char=quote,
            infer_schema=False,
            encoding="utf8-lossy",
            truncate_ragged_lines=True,
            with_column_names=_unquoted if header else _numbered,
            glob=False,
        )
        return lazy if quote else lazy.with_columns(pl.all().str.replace('^"(.*)"$', "$1"))

    headed = scan(header=True)
    names = headed.collect_schema().names()
    by_number = any(re.fullmatch(r"column_\d+", name) for name in roles.given.values())
    if not by_number and (looks_like_header(names, given=roles.given) or not _third_is_a_number(names)):
        return headed, roles.resolve(names, file)
    bare = scan(header=False)
    names = bare.collect_schema().names()
    in_order = dict(zip(("user", "item", "rating", "timestamp"), names, strict=False))
    return bare, replace(roles, given=in_order | dict(roles.given)).resolve(names, file)


def _numbered(names: Sequence[str]) -> list[str]:
    return [f"column_{number}" for number in range(1, len(names) + 1)]


def _unquoted(names: Sequence[str]) -> list[str]:
    bare = [re.sub('^"(.*)"$', r"\1", name) for name in names]
    return bare if len(set(bare)) == len(bare) else list(names)


def _third_is_a_number(names: Sequence[str]) -> bool:
    try:
        float(names[2])
    except (ValueError, IndexError):
        return False
    return True


def _json_keys(head: str, file: Path) -> list[str]:
    keys: dict[str, None] = {}
    for line in head.splitlines()[:_JSON_LOOKAHEAD]:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            keys |= dict.fromkeys(record)
    if not keys:
        raise InputError(
            f"{file} holds no JSON object in its first lines; give one JSON object a line (row 1 is not one)"
        )
    return list(keys)


def _normalise(lazy: pl.LazyFrame, names: Mapping[str, str], *, rows: tuple[int, int] | None) -> pl.DataFrame:
    if rows is not None:
        lazy = lazy.slice(*rows)
    schema = lazy.collect_schema()
    raw = pl.col(names["rating"])
    rating, defect = raw.cast(pl.Float64), pl.lit(None, dtype=DEFECTS)
    if not schema[names["rating"]].is_numeric():
        text = raw.cast(pl.String).str.strip_chars()
        rating = text.cast(pl.Float64, strict=False)
        defect = pl.when((text != "") & rating.is_null()).then(pl.lit("rating_not_a_number", dtype=DEFECTS))
    if BROKEN in schema:
        defect = pl.when(pl.col(BROKEN)).then(pl.lit("broken_row", dtype=DEFECTS)).otherwise(defect)
    return lazy.select(
        pl.col(names["user"]).cast(pl.String).alias("user_id"),
        pl.col(names["item"]).cast(pl.String).alias("item_id"),
        rating.alias("rating"),
        _timestamp(schema, names.get("timestamp")).alias("timestamp"),
        defect.alias("defect"),
    ).collect(engine="streaming")


def _timestamp(schema: pl.Schema, name: str | None) -> pl.Expr:
    if name is None:
        return pl.lit(None, dtype=pl.Int64)
    kind = schema[name]
    if kind.is_temporal():
        return pl.col(name).cast(pl.Datetime("us")).dt.epoch("s")
    if kind.is_integer():
        return pl.col(name).cast(pl.Int64, strict=False)
    number = pl.col(name).cast(pl.String).str.strip_chars()
    return number.cast(pl.Float64, strict=False).cast(pl.Int64, strict=False)
