"""Lists of users, read by the same reader and the same id rule as ratings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import polars as pl

from diffcdr.errors import InputError
from diffcdr.files.archives import UNPACKING_ERRORS, open_unpacked
from diffcdr.files.columns import Columns, Roles
from diffcdr.files.encodings import bad_utf8, not_utf8
from diffcdr.files.folders import Part, parts
from diffcdr.files.id_rule import apply_rule
from diffcdr.files.reading import Reading, Table, kind_of, read_table

USER_COLUMN = "user_id"


def read_users(path: Path, *, encoding: str | None = None) -> tuple[pl.Series, int]:
    """User ids from a file or folder, in its order, each once, and how many entries were left out as empty or repeated.

    Parquet, JSON, CSV and TSV are read by their column of users (``user_id`` or another well-known name); without a
    header a table has one column. Other text has one id a line, unless its first line is such a header.

    Raises:
        InputError: the file cannot be read, has no such column, holds ids that cannot be told (rounded numbers, or
            bytes that are not UTF-8), or holds entries of which none is an id.
    """
    ids = pl.concat([_ids_of_part(part, encoding) for part in _parts(path)])
    bare = ids.str.strip_chars()
    kept = ids.filter((bare != "").fill_null(False)).unique(maintain_order=True)
    if len(ids) and not len(kept):
        raise InputError(f"{path} has {len(ids):,} entries and none of them is a user id; check the file")
    return kept.rename(USER_COLUMN), len(ids) - len(kept)


def closest(missing: Sequence[str], known: Sequence[str]) -> str | None:
    """Why ids of ``missing`` are not among ``known``, where a simple difference explains some; None else.

    Such as ``1,204 ids would match if upper and lower case were the same``.
    """
    there = set(known)
    absent = [each for each in missing if each not in there]
    found = []
    for what, same in _DIFFERENCES.items():
        alike = {same(each) for each in there}
        count = sum(same(each) in alike for each in absent)
        if count:
            found.append((count, what))
    if (numbered := _by_number(missing, there, absent)) is not None:
        found.append(numbered)
    if not found:
        return None
    count, what = max(found, key=lambda pair: pair[0])
    return f"{count:,} {'id' if count == 1 else 'ids'} would match if {what}"


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _number(text: str) -> str:
    return text.lstrip("0") or "0"


def _by_number(missing: Sequence[str], known: Collection[str], absent: Sequence[str]) -> tuple[int, str] | None:
    """How many of ``absent`` are a number of ``known`` in other letters, as ``user_7`` and ``7``, and an example.

    Only where each side has one way to write its numbers. Of ids that mix letters and digits, digits are the same by
    chance.
    """
    ways = _way(missing), _way(known)
    if ways[0] is None or ways[1] is None or ways[0] == ways[1]:
        return None
    theirs = {parts[1]: each for each in known if (parts := _numbered(each)) is not None and parts[::2] == ways[1]}
    alike = [
        (each, theirs[parts[1]])
        for each in absent
        if (parts := _numbered(each)) is not None and parts[::2] == ways[0] and parts[1] in theirs
    ]
    if not alike:
        return None
    one, other = min(alike)
    return len(alike), f"only digits counted ({one!r} is {other!r})"


def _way(ids: Collection[str]) -> tuple[str, str] | None:
    """What stands before and after the number in most of ``ids``; None where there is no such way."""
    counts = Counter(parts[::2] for each in ids if (parts := _numbered(each)) is not None)
    if not counts:
        return None
    way, count = max(counts.items(), key=lambda pair: (pair[1], pair[0]))
    return (way[0], way[1]) if 2 * count > len(ids) else None


def _numbered(text: str) -> tuple[str, str, str] | None:
    """``text`` as what is before its only number, the number without zeros in front, and what is after it."""
    found = _ONE_NUMBER.fullmatch(text)
    return None if found is None else (found[1], _number(found[2]), found[3])


_ONE_NUMBER = re.compile(r"(\D*)(\d+)(\D*)")


_DIFFERENCES = {
    "upper and lower case were the same": str.casefold,
    "zeros at the front did not count": _number,
    "only letters and digits counted": _letters,
}


def _parts(path: Path) -> list[Part]:
    if path.is_dir():
        return parts(path)
    if not path.exists():
        raise InputError(f"cannot read users from {path}: it does not exist; check the path")
    return [Part(path)]


def _ids_of_part(part: Part, encoding: str | None) -> pl.Series:
    file = part.file
    try:
        if _is_blank(file):
            if not _is_plain_text(file):
                raise InputError("it is empty; an empty list is a text file without lines")
            return pl.Series(USER_COLUMN, [], dtype=pl.String)
        roles = Roles(("user",), in_order=("user",), single=True, lines=_is_plain_text(file))
        ids = read_table(part, roles, Reading(columns=Columns(), encoding=encoding), _users)
    except (InputError, *UNPACKING_ERRORS) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"cannot read users from {file}: {reason}") from error
    if ids.str.contains("\ufffd", literal=True).any() and (found := bad_utf8(file)) is not None:
        raise not_utf8(file, found, what="ids")
    return ids


def _users(table: Table) -> pl.Series:
    column = table.lazy.select(pl.col(table.names["user"])).collect().to_series()
    rule = apply_rule(column)
    if rule.inexact is not None:
        shown = column.filter(rule.inexact).cast(pl.String)[0]
        raise InputError(
            f"{int(rule.inexact.sum()):,} of {len(column):,} ids in the list of users are rounded numbers, such as "
            f"{shown!r}, whose digits are lost; export the ids as text"
        )
    return rule.ids.rename(USER_COLUMN)


def _is_blank(file: Path) -> bool:
    with open_unpacked(file) as stream:
        return not stream.read(1 << 16).strip(b"\xef\xbb\xbf \r\n\t")


def _is_plain_text(file: Path) -> bool:
    return kind_of(file) == "text" and not any(
        ending in (".csv", ".tsv", ".tab", ".psv") for ending in (suffix.lower() for suffix in file.suffixes)
    )
