"""The roles of a file's columns: by well-known names, or as the caller says."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from diffcdr.errors import InputError

KNOWN_NAMES: Mapping[str, tuple[str, ...]] = {
    "user": (
        *("userid", "user", "uid", "reviewerid", "customerid"),
        *("memberid", "userkey", "accountid", "visitorid", "reviewer", "username"),
    ),
    "item": (
        *("itemid", "item", "iid", "asin", "parentasin", "productid", "movieid", "bookid", "isbn"),
        *("businessid", "musicid", "artistid", "trackid", "songid", "albumid", "gameid", "appid", "objectid", "filmid"),
        *("videoid", "contentid", "sku"),
    ),
    "rating": (
        *("rating", "ratings", "overall", "stars", "starrating", "bookrating", "score"),
        *("reviewscore", "reviewoverall", "userrating", "movierating", "ratingvalue"),
    ),
    "timestamp": (
        *("timestamp", "unixreviewtime", "unixtime", "time", "ts"),
        *("datetime", "date", "reviewdate", "reviewtime", "ratingdate", "dateadded", "createdat", "eventtime"),
        *("ratedat", "creationdate", "creation", "timestampms"),
    ),
    "title": (
        *("title", "itemtitle", "movietitle", "booktitle", "name"),
        *("productname", "producttitle", "originaltitle", "gamename", "appname", "filmtitle", "artistname"),
    ),
}
"""Well-known names by role, most telling first, as :func:`plain` writes them."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a file; ``None`` means: find it by its well-known names.

    Columns of a file without header are named ``column_1``, ``column_2``, … A field within a record, as JSON and
    Parquet have them, is named with a point between: ``user.id``.
    """

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    timestamp: str | None = None
    title: str | None = None

    @classmethod
    def parse(
        cls, text: str, *, option: str, roles: Sequence[str] = ("user", "item", "rating", "timestamp")
    ) -> Columns:
        """Read ``user=…,item=…,rating=…,timestamp=…`` (any part of it), as the command line gives it.

        A name that holds a comma stands in quotation marks: ``rating="Rating (1,2,3)"``.

        Raises:
            InputError: something else stands there; ``option`` names the command-line option in the message.
        """
        given: dict[str, str] = {}
        pieces = re.findall(r'(?:[^,"]|"[^"]*")+', text)
        for part in filter(None, (part.strip() for part in pieces)):
            role, _, name = (piece.strip() for piece in part.partition("="))
            name = name[1:-1] if len(name) > 1 and name[0] == name[-1] == '"' else name
            if role not in roles or not name or role in given:
                usage = ",".join(f"{role}=NAME" for role in roles[:2])
                raise InputError(f"{option} {text!r} is not understood at {part!r}; write it as {usage},…")
            given[role] = name
        return cls(**given)

    def given(self) -> dict[str, str]:
        """The columns the caller named, by role."""
        named = {each.name: getattr(self, each.name) for each in fields(self)}
        return {role: name for role, name in named.items() if name is not None}


@dataclass(frozen=True)
class Roles:
    """The columns that a file must have, those that are optional, and those that the caller named.

    ``option``: the command-line option that names columns, for messages. ``in_order``: roles of the columns of a file
    without header. ``single``: the file is a list; without a header its first column is all it has, and with ``lines``
    each line is one entry, separators and all. ``named_by_caller``: roles, where ``given`` holds others too. ``all``:
    columns without a role are read too.
    """

    needed: Sequence[str]
    wished: Sequence[str] = ()
    given: Mapping[str, str] = field(default_factory=dict)
    option: str | None = None
    in_order: Sequence[str] = ("user", "item", "rating", "timestamp")
    single: bool = False
    lines: bool = False
    named_by_caller: Sequence[str] | None = None
    all: bool = False

    def known(self) -> set[str]:
        """The well-known names of the roles and those that the caller gave, normalised."""
        names = {name for role in (*self.needed, *self.wished) for name in KNOWN_NAMES[role]}
        return names | {plain(name) for name in self.given.values()}

    def resolve(self, found: Sequence[str], file: str) -> dict[str, str]:
        """The column of ``found`` for every role needed and, where there is one, wished.

        Raises:
            InputError: a needed or given column is not there, or one column has two roles; the message lists what is.
        """
        result: dict[str, str] = {}
        missing: list[str] = []
        wrong: list[str] = []
        for role in (*self.needed, *self.wished):
            given = self.given.get(role)
            if given is not None and _there(given, found):
                result[role] = given
            elif given is not None:
                wrong.append(given)
            elif (name := _by_known_name(role, found)) is not None:
                result[role] = name
            elif role in self.needed:
                missing.append(role)
        if missing or wrong:
            raise self._not_found(missing, wrong, result, found, file)
        return self.without_doubles(result, file)

    def named(self, found: Sequence[str], file: str, *, headed: bool) -> dict[str, str]:
        """As :meth:`resolve`; the columns of a file without header have the roles of ``in_order``.

        Where the caller says that the rating is elsewhere, a fourth column is no longer taken for the time.
        """
        if headed:
            return self.resolve(found, file)
        roles = [role for role in self.in_order if role in (*self.needed, *self.wished)]
        in_order = dict(zip(roles, found, strict=False))
        if self.given.get("rating", in_order.get("rating")) != in_order.get("rating"):
            in_order = {role: name for role, name in in_order.items() if role in self.needed}
        given = in_order | dict(self.given)
        return replace(self, given=given, named_by_caller=tuple(self.given)).resolve(found, file)

    def without_doubles(self, names: dict[str, str], file: str) -> dict[str, str]:
        """``names`` by role less wished ones whose column another role has; raises InputError where two are needed."""
        result: dict[str, str] = {}
        said = self.given if self.named_by_caller is None else self.named_by_caller
        for role, name in names.items():
            other = next((taken for taken, column in result.items() if column == name), None)
            if other is None:
                result[role] = name
            elif role in self.needed or role in said:
                both = ",".join(f"{each}={names[each] if each in said else 'NAME'}" for each in (other, role))
                raise InputError(
                    f"{file}: {name!r} would be both the {other} and the {role}; name a column for each: "
                    f"{self.option or 'columns'} {both}"
                )
        return result

    def _not_found(
        self, missing: Sequence[str], wrong: Sequence[str], known: Mapping[str, str], found: Sequence[str], file: str
    ) -> InputError:
        """All that is missing at once: roles without a column, and names that the caller gave; and what is known."""
        option = f" ({self.option})" if self.option else ""
        lacks = [f"no column {' or '.join(map(repr, wrong))}{option}"] if wrong else []
        lacks += [f"no column known as {' or '.join(missing)}"] if missing else []
        shown = ", ".join(f"{role} {name!r}" for role, name in known.items())
        text = f"{file} has {' and '.join(lacks)}; it has {_listing(found)}"
        text += f" (recognised: {shown})" if shown else ""
        alike = [each for name in wrong for each in found if plain(each) == plain(name)]
        text += f"; did you mean {' and '.join(map(repr, alike))}?" if alike else ""
        return InputError(f"{text}; {self._remedy(missing)}" if missing else text)

    def _remedy(self, missing: Sequence[str]) -> str:
        if self.option is None:
            return f"rename the column to {missing[0]}_id"
        names = ",".join(f"{role}=NAME" for role in missing)
        numbers = ",".join(f"{role}=column_{place}" for place, role in enumerate(missing, start=1))
        return f"name the columns with {self.option} {names} (without a header: {numbers})"


def looks_like_header(names: Collection[str], *, given: Mapping[str, str]) -> bool:
    """Whether the first row ``names`` names columns: one of them is well known, or named by the caller."""
    known = {name for role in KNOWN_NAMES.values() for name in role}
    return any(plain(name) in known for name in names) or any(name in names for name in given.values())


def plain(name: str) -> str:
    """``name`` as in :data:`KNOWN_NAMES`: lower case, without spaces, underscores, points and types."""
    # RecBole's headers carry the type after a colon, others a remark: user_id:token, Rating (1-5)
    return re.sub(r"[\s_\-.#%]|\(.*\)$", "", name.strip().split(":")[0].lower())


def _there(name: str, found: Sequence[str]) -> bool:
    return name in found or name.partition(".")[0] in found


def _by_known_name(role: str, found: Sequence[str]) -> str | None:
    by_plain = {plain(name): name for name in reversed(found)}
    return next((by_plain[name] for name in KNOWN_NAMES[role] if name in by_plain), None)


def _listing(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:12])
    return f"{shown}, …" if len(names) > 12 else shown or "no columns"
