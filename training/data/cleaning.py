"""Raw records -> usable ratings. Records that cannot be used are counted by reason, never silently dropped."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from diffcdr.bundle.ids import MAX_ID_BYTES
from training.data.doubts import Rules, judge
from training.data.findings import EXCLUDED, NOTES, REASONS, CleaningReport, Findings
from training.data.readers import RawRatings
from training.data.times import in_microseconds, per_second

_AHEAD_S = 2 * 86_400
"""Times further ahead of the clock than this are in the future, in whichever zone they were written."""


@dataclass(frozen=True)
class CleanRatings:
    """Usable ratings, one for each (user, item), ordered by the two.

    ``frame``: ``user_id`` and ``item_id`` as Enum whose categories are exactly the ids, in byte order, so that the
    physical code of an id is its row; ``rating`` f64; ``timestamp`` i64, null where unknown.
    """

    frame: pl.DataFrame
    report: CleaningReport
    findings: Findings
    warnings: tuple[str, ...] = ()


def clean(
    raw: RawRatings,
    *,
    rating_range: tuple[float, float] = (1.0, 5.0),
    excluded_users: pl.Series | None = None,
    rules: Rules | None = None,
) -> CleanRatings:
    """Leave out what cannot be used and merge duplicates. The order of ``raw``'s rows does not matter.

    Rows of ``excluded_users`` (ids, as strings) are left out before anything else is looked at. ``rules``: what is
    refused or warned of, and how messages name the options; None for those of the source domain.

    Of several ratings of one item by one user the last by time stays; where none has a time, or several share the
    last time, their mean. A rating without a time is older than any with one.

    Raises:
        InputError: nothing or nothing sensible is left; names the file, the first bad row, and the remedy.
    """
    rules = rules or Rules()
    sifted = sift(raw.frame, rating_range=rating_range, excluded_users=excluded_users)
    findings = replace(sifted.findings, noted=with_notes(sifted.findings.noted, raw.noted))
    warnings = judge(raw.name, findings, rating_range=rating_range, rules=rules)
    good = sifted.good
    if findings.mixed_times:
        good = good.with_columns(in_microseconds(pl.col("timestamp")))
    merged = _merge_duplicates(_encode(good))
    report = findings.report(raw.name, kept=merged.height, how=dict(raw.how))
    return CleanRatings(merged, report, findings, tuple(warnings))


def with_notes(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """The sum of two counts by keys of ``NOTES``."""
    total = {note: one.get(note, 0) + other.get(note, 0) for note in NOTES}
    return {note: count for note, count in total.items() if count}


@dataclass(frozen=True)
class Sifted:
    """``good``: the usable records, in file order, with the first four columns of :attr:`RawRatings.frame`."""

    good: pl.DataFrame
    findings: Findings


def sift(frame: pl.DataFrame, *, rating_range: tuple[float, float], excluded_users: pl.Series | None = None) -> Sifted:
    """Select the usable records of ``frame`` (as :attr:`RawRatings.frame`), each judged by itself."""
    excluded = pl.lit(False) if excluded_users is None else frame["user_id"].is_in(excluded_users.implode())
    reason = frame.select(_reason(*rating_range, excluded=excluded).alias("reason"))["reason"]
    if reason.null_count() == frame.height:
        dropped, first_bad, hit = {}, None, frame["user_id"].head(0)
    else:
        dropped = {name: count for name in REASONS if (count := int((reason == name).sum()))}
        bad = reason.is_not_null() & (reason != EXCLUDED)
        first = int(bad.arg_max() or 0) if bad.any() else None
        first_bad = None if first is None else (first, str(reason[first]), _shown(frame, first))
        hit = frame["user_id"].filter((reason == EXCLUDED).fill_null(False)).unique().sort()
    noted, example, units = _of_times(frame)
    finite = frame["rating"].filter(frame["rating"].is_finite())
    findings = Findings(
        frame.height,
        dropped,
        first_bad,
        noted,
        example,
        None if not len(finite) else float(finite.min()),  # type: ignore[arg-type]
        None if not len(finite) else float(finite.max()),  # type: ignore[arg-type]
        units,
        tuple(hit.to_list()),
    )
    kept = ("user_id", "item_id", "rating", "timestamp")
    return Sifted(frame.filter(reason.is_null()).select(kept), findings)


def _of_times(frame: pl.DataFrame) -> tuple[dict[str, int], dict[str, str], dict[str, int]]:
    """What is to be noted of the times, the first that is not understood, and times by their unit."""
    times = pl.col("timestamp")
    unit = per_second(times)
    counted = frame.select(
        (times == 0).sum().alias("time_zero"),
        (times > (unit * (time.time() + _AHEAD_S)).cast(pl.Int64)).sum().alias("time_in_future"),
        *(((unit == each) & (times != 0)).sum().alias(str(each)) for each in (1, 1_000, 1_000_000, 1_000_000_000)),
        times.null_count().alias("missing"),
    ).row(0, named=True)
    noted = {note: counted[note] for note in ("time_in_future", "time_zero")}
    example = {}
    if "time_text" in frame.columns:
        noted["time_not_understood"] = frame.height - frame["time_text"].null_count()
        if noted["time_not_understood"]:
            example["time_not_understood"] = str(frame["time_text"].drop_nulls()[0])
        if frame.height and frame["has_time"].any():
            noted["time_missing"] = counted["missing"] - noted["time_not_understood"]
    units = {key: counted[key] for key in ("1", "1000", "1000000", "1000000000") if counted[key]}
    return with_notes(noted, {}), example, units


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
        "id_not_exact": (defect == "id_not_exact").fill_null(False),
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
    user, item, rating = frame.select("user_id", "item_id", "rating").row(row)
    text = frame["text"][row] if "text" in frame.columns else None
    defect = frame["defect"][row]
    if defect == "broken_row" and text is not None:
        return repr(text[:80])
    if defect == "rating_not_a_number":
        rating = text
    shown = ", ".join(repr(str(part)[:40]) if part is not None else "nothing" for part in (user, item, rating))
    return f"{shown}; {text[:40]!r}" if defect == "id_not_exact" and text is not None else shown
