"""Title files, and the titles of a domain's items."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from diffcdr.bundle.ids import IdTable
from diffcdr.files.columns import Roles
from diffcdr.files.encodings import bad_utf8, not_utf8
from diffcdr.files.folders import parts
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


def read_titles(path: Path, *, reading: Reading | None = None) -> pl.DataFrame:
    """Read an item file: ``item_id`` str, ``title`` str; rows without either are left out.

    A file without header has items and titles in its first two columns.

    Raises:
        InputError: as :func:`training.data.readers.read_ratings`; or titles would be damaged, the file not being UTF-8.
    """
    reading = reading or Reading(option="--source-title-columns")
    roles = Roles(("item", "title"), given=reading.columns.given(), option=reading.option, in_order=("item", "title"))

    def select(table: Table) -> pl.DataFrame:
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


def item_titles(file: TitleFile, items: IdTable) -> tuple[list[str], list[str]]:
    """Titles of ``items``, one each, empty where the file has none; and warnings.

    Raises:
        InputError: as :func:`read_titles`; or no title belongs to an item.
    """
    path = file.path
    # An id with several titles gets the first in order, whatever the order in the file.
    frame = read_titles(path, reading=file.reading).sort("item_id", "title")
    frame = frame.unique("item_id", keep="first", maintain_order=True)
    rows = items.rows(frame["item_id"].to_list())
    result = [""] * len(items)
    for row, title in zip(rows.tolist(), frame["title"].to_list(), strict=True):
        if row >= 0:
            result[row] = title
    found = sum(map(bool, result))
    if found >= _FEW * len(items):
        return result, []
    known = [items[row] for row in range(len(items))]
    hint = closest(known, frame["item_id"].to_list())
    text = f"{path.name}: titles for {found:,} of {len(items):,} items" + (f"; {hint}" if hint else "")
    if found or not len(items):
        return result, [text]
    option = file.reading.option
    shown = ", ".join(map(repr, frame["item_id"].head(2).to_list())) or "none at all"
    text = (
        f"{path.name}: none of its {frame.height:,} titles belongs to an item (it has items such as {shown}; the "
        f"ratings {', '.join(map(repr, known[:2]))})" + (f"; {hint}" if hint else "") + f"; check the file and {option}"
    )
    return result, doubt("unmatched-titles", text, accepted=file.accepted)
