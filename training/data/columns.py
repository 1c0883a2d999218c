"""Which column of a file means what: by well-known names, or as the caller says."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields

from diffcdr.errors import InputError

KNOWN_NAMES: Mapping[str, tuple[str, ...]] = {
    "user": ("userid", "user", "uid", "reviewerid", "customerid"),
    "item": ("itemid", "item", "iid", "asin", "parentasin", "productid", "movieid", "bookid", "isbn"),
    "rating": ("rating", "ratings", "overall", "stars", "starrating", "bookrating", "score"),
    "timestamp": ("timestamp", "unixreviewtime", "unixtime", "time", "ts"),
    "title": ("title", "itemtitle", "movietitle", "booktitle", "name"),
}
"""Well-known names by role, most telling first, as :func:`_plain` writes them."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a rating file; ``None`` means: find it by its well-known names.

    Columns of a file without header are named ``column_1``, ``column_2``, …
    """

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    timestamp: str | None = None

    @classmethod
    def parse(cls, text: str, *, option: str) -> Columns:
        """Read ``user=…,item=…,rating=…,timestamp=…`` (any part of it), as the command line gives it.

        Raises:
            InputError: something else stands there; ``option`` names the command-line option in the message.
        """
        roles = [field.name for field in fields(cls)]
        given: dict[str, str] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            role, _, name = (piece.strip() for piece in part.partition("="))
            if role not in roles or not name or role in given:
                raise InputError(f"{option} {text!r} is not understood at {part!r}; write it as user=NAME,item=NAME,…")
            given[role] = name
        return cls(**given)

    def given(self) -> dict[str, str]:
        """The columns the caller named, by role."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {role: name for role, name in named.items() if name is not None}


def resolve(
    found: Sequence[str], *, needed: Sequence[str], wished: Sequence[str], given: Mapping[str, str], file: str
) -> dict[str, str]:
    """The column of ``found`` for every role of ``needed`` and, where there is one, of ``wished``.

    Raises:
        InputError: a needed or given column is not there; the message lists what is.
    """
    result: dict[str, str] = {}
    missing: list[str] = []
    for role in (*needed, *wished):
        if role in given:
            if given[role] not in found:
                raise InputError(f"{file} has no column {given[role]!r}; it has {_listing(found)}")
            result[role] = given[role]
        elif (name := _by_known_name(role, found)) is not None:
            result[role] = name
        elif role in needed:
            missing.append(role)
    if missing:
        options = ",".join(f"{role}=NAME" for role in missing)
        remedy = (
            f"name the columns with --source-columns {options} (or --target-columns)"
            if "title" not in missing
            else "rename the columns to item_id and title"
        )
        raise InputError(f"{file} has no column known as {' or '.join(missing)}; it has {_listing(found)}; {remedy}")
    return result


def looks_like_header(names: Collection[str], *, given: Mapping[str, str]) -> bool:
    """Whether the first row ``names`` names columns: one of them is well known, or named by the caller."""
    known = {name for role in KNOWN_NAMES.values() for name in role}
    return any(_plain(name) in known for name in names) or any(name in names for name in given.values())


def _by_known_name(role: str, found: Sequence[str]) -> str | None:
    by_plain = {_plain(name): name for name in reversed(found)}
    return next((by_plain[name] for name in KNOWN_NAMES[role] if name in by_plain), None)


def _plain(name: str) -> str:
    # RecBole's headers carry the type after a colon: user_id:token
    return re.sub(r"[\s_\-.]", "", name.strip().split(":")[0].lower())


def _listing(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:12])
    return f"{shown}, …" if len(names) > 12 else shown or "no columns"
