"""Raw records -> usable ratings: what cannot be used is counted by reason, never silently dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from diffcdr.errors import InputError
from diffcdr.ids import MAX_ID_BYTES
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
    low, high = rating_range
    excluded = pl.lit(False) if excluded_users is None else raw.frame["user_id"].is_in(excluded_users.implode())
    reason = raw.frame.select(_reason(low, high, excluded=excluded).alias("reason"))["reason"]
    good = raw.frame.filter(reason.is_null()).drop("defect")
    dropped = {name: count for name in REASONS if (count := int((reason == name).sum()))}
    bad = reason.is_not_null() & (reason != EXCLUDED)
    first = int(bad.arg_max() or 0) if bad.any() else None
    first_reason = None if first is None else str(reason[first])
    first_row = None if first is None else first + 1
    if not good.height:
        if first is None or first_reason is None:
            raise InputError(
                f"{raw.name}: all of its {raw.rows_read:,} rows are of users to be left out; check the list"
            )
        raise InputError(_nothing_left(raw, first, reason=first_reason, rating_range=rating_range))
    merged = _merge_duplicates(_encode(good))
    if merged.height < good.height:
        dropped["duplicate"] = good.height - merged.height
    report = CleaningReport(raw.name, raw.rows_read, merged.height, dropped, first_row, first_reason)
    return CleanRatings(merged, report)


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
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    frame = frame.drop("key")
    if len(starts) == len(keys):
        return frame
    lasts = np.r_[starts[1:], len(keys)] - 1
    times = frame["timestamp"].fill_null(np.iinfo(np.int64).min).to_numpy()
    last = np.zeros(len(keys), dtype=bool)
    last[lasts] = True
    newest = times == np.repeat(times[lasts], lasts - starts + 1)
    total = np.add.reduceat(np.where(newest, frame["rating"].to_numpy(), 0.0), starts)
    mean: npt.NDArray[Any] = total / np.add.reduceat(newest.astype(np.int64), starts)
    return frame.filter(pl.Series(last)).with_columns(pl.Series("rating", mean, dtype=pl.Float64))


def _nothing_left(raw: RawRatings, first: int, *, reason: str, rating_range: tuple[float, float]) -> str:
    user, item, rating = raw.frame.row(first)[:3]
    shown = ", ".join(repr(str(part)[:40]) if part is not None else "nothing" for part in (user, item, rating))
    low, high = rating_range
    if reason == "rating_out_of_range":
        remedy = f"ratings must lie in {low:g} to {high:g}: set another range or rescale them"
    elif reason in ("missing_rating", "rating_not_a_number", "rating_not_finite"):
        remedy = "ratings must be finite numbers: check which column holds them (--source-columns rating=NAME)"
    else:
        remedy = "each record needs a user id, an item id and a rating: check the file and its column names"
    return (
        f"{raw.name}: none of its {raw.rows_read:,} rows can be used; first bad row: {first + 1} "
        f"(user, item, rating: {shown}): {REASONS[reason]}; {remedy}"
    )
