"""Raw records -> usable ratings: what cannot be used is counted by reason, never silently dropped."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from diffcdr.bundle.ids import MAX_ID_BYTES
from diffcdr.errors import InputError
from training.data.readers import RawRatings

EXCLUDED = "excluded_user"

REASONS = {
    EXCLUDED: "the user is to be left out",
    "broken_row": "the record cannot be parsed",
    "missing_user": "the user id is missing or empty",
    "missing_item": "the item id is missing or empty",
    "id_too_long": f"an id has more than {MAX_ID_BYTES} bytes",
    "id_not_text": "an id holds a NUL character or is not UTF-8",
    "rating_not_a_number": "the rating is not a number",
    "missing_rating": "the rating is missing",
    "rating_not_finite": "the rating is NaN or infinite",
    "rating_out_of_range": "the rating is out of range",
    "duplicate": "the user rated the item more than once",
}
"""Why a record is left out, in the order the reasons are tried: each record counts under the first that holds."""


@dataclass(frozen=True)
class CleaningReport:
    """What cleaning did. ``dropped[reason]`` (only reasons that occurred); rows count from 1, without the header."""

    name: str
    rows_read: int
    rows_kept: int
    dropped: dict[str, int]
    first_bad_row: int | None = None
    first_bad_reason: str | None = None

    def summary(self) -> str:
        """One line for people."""
        line = f"{self.name}: {self.rows_read:,} rows read, {self.rows_kept:,} kept"
        if self.dropped:
            line += "; left out " + ", ".join(f"{count:,} {reason}" for reason, count in self.dropped.items())
        if self.first_bad_row is not None and self.first_bad_reason is not None:
            line += f" (first bad row: {self.first_bad_row:,}, {REASONS[self.first_bad_reason]})"
        return line


@dataclass(frozen=True)
class CleanRatings:
    """Usable ratings, one for each (user, item), ordered by the two.

    ``frame``: ``user_id`` and ``item_id`` as Enum whose categories are exactly the ids, in byte order, so that the
    physical code of an id is its row; ``rating`` f64; ``timestamp`` i64, null where unknown.
    """

    frame: pl.DataFrame
    report: CleaningReport


def clean(
    raw: RawRatings, *, rating_range: tuple[float, float] = (1.0, 5.0), excluded_users: pl.Series | None = None
) -> CleanRatings:
    """Leave out what cannot be used and merge duplicates. The order of ``raw``'s rows does not matter.

    Rows of ``excluded_users`` (ids, as strings) are left out before anything else is looked at.

    Of several ratings of one item by one user the last by time stays; where none has a time, or several share the
    last time, their mean. A rating without a time is older than any with one.

    Raises:
        InputError: nothing is left; names the file, the first bad row, and the remedy.
    """
    sifted = sift(raw.frame, rating_range=rating_range, excluded_users=excluded_users)
    findings = sifted.findings
    if not sifted.good.height:
        raise nothing_left(raw.name, findings, rating_range=rating_range)
    merged = _merge_duplicates(_encode(sifted.good))
    return CleanRatings(merged, findings.report(raw.name, kept=merged.height))


@dataclass(frozen=True)
class Findings:
    """What :func:`sift` found in some records of a file; those of all its parts add up to the file's.

    ``dropped[reason]``: records left out; ``first_bad``: the first of them (of users not to be left out), from 0, its
    reason, and how its user, item and rating look.
    """

    rows: int
    dropped: dict[str, int]
    first_bad: tuple[int, str, str] | None = None

    def __add__(self, other: Findings) -> Findings:
        """Of these records and, after them, those of ``other``."""
        first = self.first_bad
        if first is None and other.first_bad is not None:
            place, reason, shown = other.first_bad
            first = (self.rows + place, reason, shown)
        dropped = {name: self.dropped.get(name, 0) + other.dropped.get(name, 0) for name in REASONS}
        return Findings(self.rows + other.rows, {name: count for name, count in dropped.items() if count}, first)

    @property
    def usable(self) -> int:
        """Records not left out."""
        return self.rows - sum(self.dropped.values())

    def as_json(self) -> str:
        """To send elsewhere; :meth:`from_json` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Findings:
        """What :meth:`as_json` wrote."""
        parts = json.loads(text)
        first = parts["first_bad"]
        return cls(parts["rows"], parts["dropped"], None if first is None else (first[0], first[1], first[2]))

    def report(self, name: str, *, kept: int) -> CleaningReport:
        """The report on the file ``name``, of which ``kept`` ratings are left after duplicates are merged."""
        dropped = dict(self.dropped)
        if duplicates := self.usable - kept:
            dropped["duplicate"] = duplicates
        row, reason = (None, None) if self.first_bad is None else (self.first_bad[0] + 1, self.first_bad[1])
        return CleaningReport(name, self.rows, kept, dropped, row, reason)


@dataclass(frozen=True)
class Sifted:
    """``good``: the usable records, in file order, as :attr:`RawRatings.frame` without ``defect``."""

    good: pl.DataFrame
    findings: Findings


def sift(frame: pl.DataFrame, *, rating_range: tuple[float, float], excluded_users: pl.Series | None = None) -> Sifted:
    """Take the usable records out of ``frame`` (as :attr:`RawRatings.frame`), each looked at by itself."""
    excluded = pl.lit(False) if excluded_users is None else frame["user_id"].is_in(excluded_users.implode())
    reason = frame.select(_reason(*rating_range, excluded=excluded).alias("reason"))["reason"]
    dropped = {name: count for name in REASONS if (count := int((reason == name).sum()))}
    bad = reason.is_not_null() & (reason != EXCLUDED)
    first = int(bad.arg_max() or 0) if bad.any() else None
    first_bad = None if first is None else (first, str(reason[first]), _shown(frame, first))
    return Sifted(frame.filter(reason.is_null()).drop("defect"), Findings(frame.height, dropped, first_bad))


def nothing_left(name: str, findings: Findings, *, rating_range: tuple[float, float]) -> InputError:
    """The error for the file ``name``, where no record is usable: the first bad row, and the remedy."""
    if findings.first_bad is None:
        return InputError(f"{name}: all of its {findings.rows:,} rows are of users to be left out; check the list")
    row, reason, shown = findings.first_bad
    low, high = rating_range
    if reason == "rating_out_of_range":
        remedy = f"ratings must lie in {low:g} to {high:g}: set another range or rescale them"
    elif reason in ("missing_rating", "rating_not_a_number", "rating_not_finite"):
        remedy = "ratings must be finite numbers: check which column holds them (--source-columns rating=NAME)"
    else:
        remedy = "each record needs a user id, an item id and a rating: check the file and its column names"
    return InputError(
        f"{name}: none of its {findings.rows:,} rows can be used; first bad row: {row + 1} "
        f"(user, item, rating: {shown}): {REASONS[reason]}; {remedy}"
    )


def ids_of(column: pl.Series) -> pl.Series:
    """The ids a column of :class:`CleanRatings` is encoded with, in byte order."""
    if not isinstance(column.dtype, pl.Enum):
        raise TypeError(f"{column.name} is {column.dtype}, not an Enum")
    return column.dtype.categories


def _reason(low: float, high: float, *, excluded: pl.Series | pl.Expr) -> pl.Expr:
    user, item, rating, defect = (pl.col(name) for name in ("user_id", "item_id", "rating", "defect"))

    def missing(text: pl.Expr) -> pl.Expr:
        return text.is_null() | (text.str.strip_chars() == "")

    def not_text(text: pl.Expr) -> pl.Expr:
        # The readers put U+FFFD where bytes are not UTF-8; merging such ids would mix people up.
        return text.str.contains_any(["\0", "\ufffd"])

    conditions = {
        EXCLUDED: excluded,
        "broken_row": (defect == "broken_row").fill_null(False),
        "missing_user": missing(user),
        "missing_item": missing(item),
        "id_too_long": (user.str.len_bytes() > MAX_ID_BYTES) | (item.str.len_bytes() > MAX_ID_BYTES),
        "id_not_text": not_text(user) | not_text(item),
        "rating_not_a_number": (defect == "rating_not_a_number").fill_null(False),
        "missing_rating": rating.is_null(),
        "rating_not_finite": ~rating.is_finite(),
        "rating_out_of_range": ~rating.is_between(low, high),
    }
    labels = pl.Enum(list(REASONS))
    return pl.coalesce(pl.when(condition).then(pl.lit(name, dtype=labels)) for name, condition in conditions.items())


def _encode(frame: pl.DataFrame) -> pl.DataFrame:
    """Ids as Enum with categories in byte order (polars sorts text by its UTF-8 bytes, as IdTable does)."""
    return frame.with_columns(frame[name].cast(pl.Enum(frame[name].unique().sort())) for name in ("user_id", "item_id"))


def _merge_duplicates(frame: pl.DataFrame) -> pl.DataFrame:
    items = len(ids_of(frame["item_id"]))
    key = pl.col("user_id").to_physical().cast(pl.Int64) * items + pl.col("item_id").to_physical().cast(pl.Int64)
    # Ordering by rating too makes the sum below, to the last bit, independent of the file's row order.
    frame = frame.with_columns(key.alias("key")).sort("key", "timestamp", "rating", nulls_last=False)
    keys = frame["key"].to_numpy()
    return merge_runs(frame.drop("key"), starts=np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]]))


def merge_runs(frame: pl.DataFrame, *, starts: npt.NDArray[np.int64]) -> pl.DataFrame:
    """One rating for each run of ratings of one user and item, by the rule of :func:`clean`.

    Args:
        frame: ratings ordered by user, item, time (unknown ones first) and rating.
        starts: int64, where each run begins.
    """
    if len(starts) == frame.height:
        return frame
    lasts = np.r_[starts[1:], frame.height] - 1
    times = frame["timestamp"].fill_null(np.iinfo(np.int64).min).to_numpy()
    last = np.zeros(frame.height, dtype=bool)
    last[lasts] = True
    newest = times == np.repeat(times[lasts], lasts - starts + 1)
    total = np.add.reduceat(np.where(newest, frame["rating"].to_numpy(), 0.0), starts)
    mean: npt.NDArray[Any] = total / np.add.reduceat(newest.astype(np.int64), starts)
    return frame.filter(pl.Series(last)).with_columns(pl.Series("rating", mean, dtype=pl.Float64))


def _shown(frame: pl.DataFrame, row: int) -> str:
    cells = frame.select("user_id", "item_id", "rating").row(row)
    return ", ".join(repr(str(part)[:40]) if part is not None else "nothing" for part in cells)
