"""Title files, and the titles of a domain's items."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from diffcdr.atomic import file_sha256
from diffcdr.bundle.ids import IdTable
from diffcdr.bundle.manifest import ItemsFile
from diffcdr.files.columns import Roles
from diffcdr.files.encodings import bad_utf8, not_utf8
from diffcdr.files.folders import joined_sha256, parts
from diffcdr.files.id_rule import normal_ids
from diffcdr.files.reading import Reading, Table, read_table
from diffcdr.files.users import closest
from training.data.doubts import doubt

_FEW = 0.5


@dataclass(frozen=True)
class TitleFile:
    """A file of titles, how it is to be read, and which doubts about it are accepted."""

    path: Path
    reading: Reading = field(default_factory=lambda: Reading(option="--source-title-columns"))
    accepted: Collection[str] = ()


@dataclass(frozen=True)
class KnownTitles:
    """A title for each item, empty where unknown; the file they are from; and warnings."""

    titles: list[str]
    file: ItemsFile
    warnings: tuple[str, ...] = ()


def read_titles(path: Path, *, reading: Reading | None = None, columns: dict[str, str] | None = None) -> pl.DataFrame:
    """Read an item file: ``item_id`` str, ``title`` str; rows without either are left out.

    A file without header has items and titles in its first two columns. ``columns`` takes the column of each role.

    Raises:
        InputError: as :func:`training.data.readers.read_ratings`; or titles would be damaged, the file not being UTF-8.
    """
    reading = reading or Reading(option="--source-title-columns")
    roles = Roles(("item", "title"), given=reading.columns.given(), option=reading.option, in_order=("item", "title"))

    def select(table: Table) -> pl.DataFrame:
        if columns is not None:
            columns.update(table.names)
        frame = table.lazy.select(
            pl.col(table.names["item"]).alias("item_id"), pl.col(table.names["title"]).cast(pl.String).alias("title")
        ).collect(engine="streaming")
        return frame.with_columns(normal_ids(frame["item_id"]), pl.col("title").str.strip_chars()).drop_nulls()

    frames = []
    for part in parts(path):
        frame = read_table(part, roles, reading, select)
        damaged = frame["title"].str.contains("\ufffd", literal=True) | frame["item_id"].str.contains(
            "\ufffd", literal=True
        )
        if damaged.any() and (found := bad_utf8(part.file)) is not None:
            raise not_utf8(part.file, found, what="titles")
        frames.append(frame)
    return pl.concat(frames).filter(pl.col("title") != "")


def items_file(path: Path, *, rows: int, columns: Mapping[str, str], items: int, found: int) -> ItemsFile:
    """What is recorded of the title or item file at ``path``, in which ``found`` of a domain's ``items`` stand."""
    files = [part.file for part in parts(path)]
    return ItemsFile(
        name=path.absolute().name,
        sha256=joined_sha256(path, files, map(file_sha256, files)),
        rows=rows,
        columns=dict(columns),
        items=items,
        items_with_row=found,
    )


def item_titles(file: TitleFile, items: IdTable) -> KnownTitles:
    """What ``file`` says of ``items``.

    Raises:
        InputError: as :func:`read_titles`; or no title belongs to an item.
    """
    path = file.path
    # An id with several titles gets the first in order, whatever the order in the file.
    columns: dict[str, str] = {}
    frame = read_titles(path, reading=file.reading, columns=columns).sort("item_id", "title")
    read = frame.height
    frame = frame.unique("item_id", keep="first", maintain_order=True)
    rows = items.rows(frame["item_id"].to_list())
    result = [""] * len(items)
    for row, title in zip(rows.tolist(), frame["title"].to_list(), strict=True):
        if row >= 0:
            result[row] = title
    found = sum(map(bool, result))
    described = items_file(path, rows=read, columns=columns, items=len(items), found=found)
    if found >= _FEW * len(items):
        return KnownTitles(result, described)
    known = [items[row] for row in range(len(items))]
    hint = closest(known, frame["item_id"].to_list())
    text = f"{path.name}: titles for {found:,} of {len(items):,} items" + (f"; {hint}" if hint else "")
    if found or not len(items):
        return KnownTitles(result, described, (text,))
    option = file.reading.option
    shown = ", ".join(map(repr, frame["item_id"].head(2).to_list())) or "none at all"
    text = (
        f"{path.name}: none of its {frame.height:,} titles belongs to an item (it has items such as {shown}; the "
        f"ratings {', '.join(map(repr, known[:2]))})" + (f"; {hint}" if hint else "") + f"; check the file and {option}"
    )
    return KnownTitles(result, described, tuple(doubt("unmatched-titles", text, accepted=file.accepted)))
