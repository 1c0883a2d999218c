"""Files of items: their titles and every further column, as typed attributes (:mod:`diffcdr.bundle.attributes`).

Parquet and JSON say what a column holds. In delimited text a column is of numbers or booleans if all its values are,
else of text. Text of which some value has a ``|`` in it is a list of categories, as are lists of Parquet and JSON.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from diffcdr.arrays import Int64Array
from diffcdr.bundle.attributes import (
    AVAILABLE,
    MAX_ATTRIBUTES,
    MAX_NAME,
    MAX_WORD_BYTES,
    TAGS,
    Attribute,
    ItemAttributes,
)
from diffcdr.bundle.ids import IdTable
from diffcdr.bundle.manifest import ItemsFile
from diffcdr.errors import InputError
from diffcdr.files.archives import open_unpacked
from diffcdr.files.columns import Roles
from diffcdr.files.encodings import bad_utf8, encoding_of, not_utf8, open_text
from diffcdr.files.folders import Part, parts
from diffcdr.files.id_rule import NO_ID, normal_ids
from diffcdr.files.json_records import Shape, look, records
from diffcdr.files.reading import HEAD_BYTES, Reading, kind_of, read_table
from diffcdr.files.users import closest
from training.data.doubts import doubt
from training.data.titles import items_file

DIVIDER = "|"
_FEW = 0.5
_NUMBER = r"^[+-]?(0|[1-9]\d{0,17})(\.\d+)?([eE][+-]?\d{1,3})?$"
"""Not ``007``, which is a name: its zeros would be lost."""
_ROLES = ("item", "title")


@dataclass(frozen=True)
class ItemFile:
    """A file of items, how it is to be read, and which doubts about it are accepted."""

    path: Path
    reading: Reading = field(default_factory=lambda: Reading(option="--target-title-columns"))
    accepted: Collection[str] = ()


@dataclass(frozen=True)
class KnownItems:
    """What a file says of a domain's items: a title each, empty where unknown; attributes; the file; and warnings."""

    titles: list[str] | None
    attributes: ItemAttributes
    file: ItemsFile
    warnings: tuple[str, ...] = ()


def read_items(file: ItemFile, items: IdTable) -> KnownItems:
    """What ``file`` says of ``items``.

    Raises:
        InputError: it cannot be read, says two things of one item, holds a column that cannot be kept, or is of none
            of the items.
    """
    frame, names = _read(file)
    height = frame.height
    rows = items.rows(frame["item_id"].to_list())
    known = np.flatnonzero(rows >= 0)
    warnings = _unmatched(file, items, frame["item_id"], found=len(known))
    frame, rows = frame[known], rows[known]
    titles = None
    if "title" in frame.columns:
        titles = [""] * len(items)
        for row, title in zip(rows.tolist(), frame["title"].to_list(), strict=True):
            titles[row] = title or ""
    columns: dict[str, Attribute] = {}
    for name in frame.columns[2 if titles is not None else 1 :]:
        found = _attribute(file.path, name, frame[name], rows, len(items))
        if isinstance(found, str):
            warnings.append(found)
        else:
            columns[name] = found
    _check_names(file.path, columns)
    described = items_file(file.path, rows=height, columns=names, items=len(items), found=len(known))
    return KnownItems(titles, ItemAttributes(columns), described, tuple(warnings))


def _check_names(path: Path, columns: Mapping[str, Attribute]) -> None:
    if len(columns) > MAX_ATTRIBUTES:
        raise InputError(f"{path} has {len(columns)} columns of attributes, and {MAX_ATTRIBUTES} can be kept")
    for name in columns:
        if not name.strip() or len(name) > MAX_NAME:
            raise InputError(f"{path}: the column {name[:40]!r} cannot be an attribute; rename it ({MAX_NAME} letters)")
    for name, kind, remedy in (
        (AVAILABLE, "boolean", "write true or false"),
        (TAGS, "category", f"separate tags by {DIVIDER}"),
    ):
        if name in columns and columns[name].kind != kind:
            raise InputError(f"{path}: the column {name!r} holds no {kind} values; {remedy}, or rename it")


def _unmatched(file: ItemFile, items: IdTable, ids: pl.Series, *, found: int) -> list[str]:
    if found >= _FEW * len(items):
        return []
    known = [items[row] for row in range(len(items))]
    hint = closest(known, ids.to_list())
    text = f"{file.path.name}: {found:,} of {len(items):,} items are in it" + (f"; {hint}" if hint else "")
    if found or not len(items):
        return [text]
    shown = ", ".join(map(repr, ids.head(2).to_list())) or "none at all"
    text += f" (it has items such as {shown}; the ratings {', '.join(map(repr, known[:2]))})"
    return doubt("unmatched-titles", f"{text}; check the file and {file.reading.option}", accepted=file.accepted)


def _read(file: ItemFile) -> tuple[pl.DataFrame, dict[str, str]]:
    """``item_id``, ``title`` where there is one, and the other columns under their names; each item once.

    And the file's column of each role, in its first part.
    """
    roles = Roles(
        ("item",), ("title",), given=file.reading.columns.given(), option=file.reading.option, in_order=_ROLES, all=True
    )
    read = [_part(part, roles, file.reading) for part in parts(file.path)]
    try:
        frame = pl.concat([frame for frame, _ in read], how="diagonal_relaxed").filter(pl.col("item_id").is_not_null())
        frame = frame.unique(maintain_order=True)
    except pl.exceptions.PolarsError as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise InputError(f"{file.path}: its parts do not match ({reason}); export them alike") from error
    twice = frame["item_id"].filter(frame["item_id"].is_duplicated())
    if len(twice):
        raise InputError(
            f"{file.path} has conflicting rows for {twice.n_unique():,} items, such as {twice.min()!r}; give each item "
            f"one row, with its categories in a list or separated by {DIVIDER}"
        )
    return frame, read[0][1]


def _part(part: Part, roles: Roles, reading: Reading) -> tuple[pl.DataFrame, dict[str, str]]:
    kind = kind_of(part.file)
    if kind == "text":
        frame, names = read_table(
            part, roles, reading, lambda table: (table.lazy.collect(engine="streaming"), dict(table.names))
        )
        for column in frame:
            if column.str.contains("\ufffd", literal=True).any() and (found := bad_utf8(part.file)) is not None:
                raise not_utf8(part.file, found, what="items")
        frame = frame.select(_typed(frame[name]) if name != names["item"] else frame[name] for name in frame.columns)
    else:
        try:
            frame = pl.read_parquet(part.file, glob=False) if kind == "parquet" else _json(part.file, reading)
        except (pl.exceptions.PolarsError, OSError, ValueError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise InputError(f"{part.file} cannot be read ({reason}); export it again") from error
        names = roles.resolve(frame.columns, str(part.file))
    if frame[names["item"]].dtype.is_nested():
        raise InputError(f"{part.file}: {names['item']!r}, the item, holds lists; name another with {roles.option}")
    first = [normal_ids(frame[names["item"]]).alias("item_id")]
    if "title" in names:
        first.append(frame[names["title"]].cast(pl.String).str.strip_chars().alias("title"))
    taken = {"item_id", "title"}
    rest = [frame[name] for name in frame.columns if name not in names.values()]
    if clash := [column.name for column in rest if column.name in taken]:
        raise InputError(f"{part.file}: the column {clash[0]!r} is no attribute's name; rename it")
    return pl.DataFrame([*first, *rest]), names


def _json(file: Path, reading: Reading) -> pl.DataFrame:
    with open_unpacked(file, buffer=HEAD_BYTES) as stream:
        encoding = encoding_of(file, stream.read(HEAD_BYTES), given=reading.encoding)
    with open_unpacked(file, buffer=HEAD_BYTES) as stream, open_text(stream, encoding) as text:
        shape, _ = look(text, least=HEAD_BYTES)
    with open_unpacked(file, buffer=HEAD_BYTES) as stream, open_text(stream, encoding) as text:
        if shape is Shape.lines:
            return pl.read_ndjson(text.read().encode("utf-8", "replace"), infer_schema_length=None)
        return pl.DataFrame(list(records(text, shape)), infer_schema_length=None)


def _typed(column: pl.Series) -> pl.Series:
    """A column of delimited text as numbers or booleans, where all its values are."""
    text = column.str.strip_chars()
    text = text.set((text == "") | text.is_in(sorted(NO_ID)), None)
    values = text.drop_nulls()
    if not len(values):
        return text
    if values.str.contains(_NUMBER).all():
        whole = values.str.contains(r"^[+-]?\d+$").all()
        return text.cast(pl.Int64 if whole else pl.Float64)
    if values.str.to_lowercase().is_in(["true", "false"]).all():
        return text.str.to_lowercase() == "true"
    return text


def _attribute(path: Path, name: str, column: pl.Series, rows: Int64Array, n_items: int) -> Attribute | str:
    """``column``, of the items at ``rows``, or why it is left out."""
    dtype = column.dtype
    if dtype == pl.Null or not column.drop_nulls().len():
        return f"{path.name}: the column {name!r} is left out, as no item has a value"
    if isinstance(dtype, pl.List | pl.Array):
        return _categories(path, name, column.cast(pl.List(dtype.inner)), rows, n_items)
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        raise InputError(f"{path}: the column {name!r} holds {dtype}, which filters do not support; leave it out")
    if dtype.is_numeric():
        return _numbers(column, rows, n_items)
    present = _spread(column.is_not_null(), rows, n_items)
    if dtype == pl.Boolean:
        return Attribute.booleans(_spread(column.fill_null(False), rows, n_items), present)
    return _text(path, name, _as_text(column), rows, n_items)


def _text(path: Path, name: str, text: pl.Series, rows: Int64Array, n_items: int) -> Attribute | str:
    if text.str.contains(DIVIDER, literal=True).any() or name == TAGS:
        return _categories(path, name, text.str.split(DIVIDER), rows, n_items)
    text = text.set(text == "", None)
    if (longest := text.str.len_bytes().max()) is not None and int(str(longest)) > MAX_WORD_BYTES:
        return _too_long(path, name)
    words = text.drop_nulls().unique().sort()
    codes = np.zeros(n_items, dtype=np.int64)
    codes[rows] = text.replace_strict(words, np.arange(len(words)), default=0, return_dtype=pl.Int64).to_numpy()
    return Attribute.texts(codes, _spread(text.is_not_null(), rows, n_items), words.to_list())


def _numbers(column: pl.Series, rows: Int64Array, n_items: int) -> Attribute:
    wide = column.dtype.is_float() or column.dtype in (pl.Decimal, pl.UInt64, pl.Int128)
    numbers = column.cast(pl.Float64 if wide else pl.Int64)
    there = numbers.is_not_null()
    if wide:
        there = there & numbers.is_finite().fill_null(False)
    out = np.zeros(n_items, dtype=np.float64 if wide else np.int64)
    out[rows] = numbers.fill_null(0).to_numpy()
    return Attribute.numbers(out, _spread(there, rows, n_items))


def _as_text(column: pl.Series) -> pl.Series:
    """Dates as ISO 8601, so that their order is that of their text; all else as it is written."""
    if isinstance(column.dtype, pl.Datetime):
        return column.dt.to_string("iso:strict")
    return column.cast(pl.String).str.strip_chars()


def _categories(path: Path, name: str, lists: pl.Series, rows: Int64Array, n_items: int) -> Attribute | str:
    frame = pl.DataFrame({"row": pl.Series(rows), "word": lists}).explode("word")
    if frame["word"].dtype.is_nested():
        raise InputError(f"{path}: the column {name!r} holds lists of {frame['word'].dtype}; give lists of text")
    frame = frame.with_columns(pl.col("word").cast(pl.String).str.strip_chars()).drop_nulls()
    frame = frame.filter(pl.col("word") != "").unique()
    words = frame["word"].unique().sort()
    if frame["word"].str.len_bytes().max() is not None and (frame["word"].str.len_bytes() > MAX_WORD_BYTES).any():
        return _too_long(path, name)
    places = pl.DataFrame({"word": words, "code": np.arange(len(words))})
    frame = frame.join(places, on="word", how="left").sort("row", "code")
    indptr = np.zeros(n_items + 1, dtype=np.int64)
    np.cumsum(np.bincount(frame["row"].to_numpy(), minlength=n_items), out=indptr[1:])
    return Attribute.categories(indptr, frame["code"].to_numpy(), words.to_list())


def _too_long(path: Path, name: str) -> str:
    return (
        f"{path.name}: the column {name!r} is left out, as it holds text of more than {MAX_WORD_BYTES} bytes, which "
        "filters do not support"
    )


def _spread(values: pl.Series, rows: Int64Array, n_items: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    out = np.zeros(n_items, dtype=np.bool_)
    out[rows] = values.to_numpy()
    return out
