"""Times of ratings: a column of any type -> integers that can be compared.

Numbers are taken as they are (seconds, milli-, micro- or nanoseconds since 1970). Dates, as such or as text, become
seconds; microseconds where a part of the file has fractions of one. Text without a zone is UTC.

    2010-01-31   2010-01-31T23:59:59.5Z   2010/1/31 23:59   2010-01-31 23:59:59 +02:00   31.01.2010   31-Jan-2010
    Jan 31, 2010   01 31, 2010 (Amazon)   Sun Jan 31 23:59:59 -0800 2010 (Goodreads)   Sun, 31 Jan 2010 23:59:59 GMT
    1/31/2010 or 31/1/2010: as the other dates of the part decide; where none does, it is not understood
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

_ZONE = r"(\d{1,2}:\d{2}\S*?)\s*(Z|UTC|GMT|UT|[+-]\d{2}(?::?\d{2})?)$"
_CLOCK = r"(?:(?:T|t|,?\s+)(\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?)(?:\s*([AaPp])\.?[Mm]\.?)?)?$"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_SHAPES = (
    rf"^(?P<y>\d{{4}})[-/.](?P<m>\d{{1,2}})[-/.](?P<d>\d{{1,2}}){_CLOCK}",
    r"^(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})[T ](\d{2}:?\d{2}(?::?\d{2})?)()$",
    rf"^(?P<d>\d{{1,2}})\.(?P<m>\d{{1,2}})\.(?P<y>\d{{4}}){_CLOCK}",
    rf"^(?P<m>\d{{1,2}}) (?P<d>\d{{1,2}}), ?(?P<y>\d{{4}}){_CLOCK}",
    rf"^(?:[A-Za-z]{{3,9}},?\s+)?(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[-\s/.]+(?P<m>[A-Za-z]{{3,9}})\.?,?[-\s/.]+(?P<y>\d{{4}}){_CLOCK}",
    rf"^(?:[A-Za-z]{{3,9}},?\s+)?(?P<m>[A-Za-z]{{3,9}})\.?\s+(?P<d>\d{{1,2}})(?:st|nd|rd|th)?,?\s+(?P<y>\d{{4}}){_CLOCK}",
    r"^[A-Za-z]{3,9},?\s+(?P<m>[A-Za-z]{3,9})\s+(?P<d>\d{1,2})\s+(?P<c>\d{1,2}:\d{2}:\d{2})(?P<p>)\s+(?P<y>\d{4})$",
)
"""Years, months and days by name; then the clock, and whether it is before or after noon."""
_SLASHED = rf"^(?P<a>\d{{1,2}})[/-](?P<b>\d{{1,2}})[/-](?P<y>\d{{4}}){_CLOCK}"
_INNER_ZONE = r"^(\w+,?\s+\w+\s+\d{1,2}\s+\d{1,2}:\d{2}:\d{2})\s+([+-]\d{4}|[A-Z]{1,5})\s+(\d{4})$"

_NO_TIME = ("null", "none", "nan", "nat", "na", "n/a", "\\n", "<na>", "0000-00-00", "0000-00-00 00:00:00")

UNITS = ((1e11, 1), (1e14, 1_000), (1e17, 1_000_000), (float("inf"), 1_000_000_000))
"""(numbers below this, how many of them a second has): what a number is, told by its size."""


@dataclass(frozen=True)
class Times:
    """``times``: i64, null where unknown. ``not_understood``: bool, a time is there and means nothing to us."""

    times: pl.Series
    not_understood: pl.Series


def understand(column: pl.Series) -> Times:
    """The times of ``column``, of any type."""
    nothing = pl.repeat(False, len(column), dtype=pl.Boolean, eager=True)
    if column.dtype.is_temporal():
        if column.dtype in (pl.Time, pl.Duration):
            return Times(pl.Series(column.name, [None] * len(column), dtype=pl.Int64), column.is_not_null())
        return Times(_shortest(column.cast(pl.Datetime("us")).dt.epoch("us")), nothing)
    if column.dtype.is_integer():
        return Times(column.cast(pl.Int64, strict=False), nothing)
    if column.dtype == pl.String:
        plain = column.cast(pl.Int64, strict=False)
        if plain.null_count() == column.null_count():
            return Times(plain, nothing)
    text = column.cast(pl.String).str.strip_chars()
    numbers = text.cast(pl.Float64, strict=False).cast(pl.Int64, strict=False)
    if not column.dtype.is_numeric():
        # Digits alone, as a float may not hold them all.
        numbers = numbers.to_frame("n").select(pl.coalesce(text.cast(pl.Int64, strict=False), pl.col("n"))).to_series()
    numbers = numbers.rename(column.name)
    left = numbers.is_null() & (text != "").fill_null(False) & ~text.str.to_lowercase().is_in(_NO_TIME).fill_null(False)
    if not left.any():
        return Times(numbers, left)
    dates = _shortest(_dates(text.filter(left)))
    times = numbers.scatter(left.arg_true(), dates)
    return Times(times, left & times.is_null())


def per_second(times: pl.Expr) -> pl.Expr:
    """How many of the numbers ``times`` a second has, by their size."""
    size, steps = times.abs(), pl.lit(UNITS[-1][1], dtype=pl.Int64)
    for limit, unit in reversed(UNITS[:-1]):
        steps = pl.when(size < limit).then(pl.lit(unit, dtype=pl.Int64)).otherwise(steps)
    return steps


def in_microseconds(times: pl.Expr) -> pl.Expr:
    """``times`` of several units in one, to be compared."""
    unit = per_second(times)
    return pl.when(unit <= 1_000_000).then(times * (1_000_000 // unit)).otherwise(times // 1_000)


def _shortest(microseconds: pl.Series) -> pl.Series:
    """Seconds where all are whole, else as they are."""
    whole = (microseconds % 1_000_000 == 0).all()
    return microseconds // 1_000_000 if whole else microseconds


def _dates(text: pl.Series) -> pl.Series:
    """Microseconds since 1970 of dates written as text; null where none is understood."""
    frame = text.rename("text").to_frame()
    frame = frame.select(
        pl.col("text").str.replace(_INNER_ZONE, "$1 $3"),
        pl.col("text").str.extract(_INNER_ZONE, 2).alias("inner"),
    ).with_columns(
        pl.coalesce(pl.col("text").str.extract(_ZONE, 2), "inner").alias("zone"),
        pl.col("text").str.replace(_ZONE, "$1"),
    )
    body = frame["text"].str.strip_chars()
    result = pl.Series("time", [None] * len(body), dtype=pl.Datetime("us"))
    for shape in _SHAPES:
        left = result.is_null().arg_true()
        if not len(left):
            break
        result = result.scatter(left, _assembled(body.gather(left), shape))
    left = result.is_null().arg_true()
    if len(left):
        result = result.scatter(left, _slashed(body.gather(left)))
    offset = frame.select(_offset(pl.col("zone"))).to_series()
    return result.dt.epoch("us") - offset


def _assembled(body: pl.Series, shape: str, *, swap: tuple[str, str] | None = None) -> pl.Series:
    parts = body.str.extract_groups(shape).struct.unnest()
    names = parts.columns
    clock, noon = (names[-2], names[-1]) if "c" not in names else ("c", "p")
    day, month = swap or ("d", "m")
    number = (
        pl.col(month)
        .str.to_lowercase()
        .str.head(3)
        .replace_strict(_MONTHS, [str(place) for place in range(1, 13)], default=pl.col(month))
    )
    digits = pl.col(clock).fill_null("").str.replace_all(r"[:]", "").str.replace(",", ".", literal=True)
    hour = digits.str.extract(r"^(\d{1,2})\d{2}(?:\d{2})?(?:\.|$)", 1).fill_null("0").cast(pl.Int64, strict=False)
    after = pl.col(noon).fill_null("").str.to_lowercase()
    hour = (
        pl.when((after == "p") & (hour < 12))
        .then(hour + 12)
        .when((after == "a") & (hour == 12))
        .then(0)
        .otherwise(hour)
    )
    rest = digits.str.extract(r"^\d{1,2}(\d{2}(?:\d{2})?(?:\.\d+)?)$", 1).fill_null("00")
    written = pl.concat_str(
        [
            pl.col("y"),
            pl.lit("-"),
            number.str.zfill(2),
            pl.lit("-"),
            pl.col(day).str.zfill(2),
            pl.lit(" "),
            hour.cast(pl.String).str.zfill(2),
            pl.lit(":"),
            rest.str.head(2),
            pl.lit(":"),
            pl.when(rest.str.len_bytes() >= 4).then(rest.str.slice(2)).otherwise(pl.lit("00")),
        ]
    )
    return parts.select(written.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="us")).to_series()


def _slashed(body: pl.Series) -> pl.Series:
    parts = body.str.extract_groups(_SLASHED).struct.unnest()
    first, second = (parts[name].cast(pl.Int64, strict=False).max() for name in ("a", "b"))
    day_first, month_first = (isinstance(value, int) and value > 12 for value in (first, second))
    if day_first == month_first:
        return pl.Series([None] * len(body), dtype=pl.Datetime("us"))
    return _assembled(body, _SLASHED, swap=("a", "b") if day_first else ("b", "a"))


def _offset(zone: pl.Expr) -> pl.Expr:
    """Microseconds that ``zone`` is ahead of UTC."""
    hours = zone.str.extract(r"^[+-](\d{2})", 1).cast(pl.Int64).fill_null(0)
    minutes = zone.str.extract(r"^[+-]\d{2}:?(\d{2})", 1).cast(pl.Int64).fill_null(0)
    sign = pl.when(zone.str.starts_with("-").fill_null(False)).then(-1).otherwise(1)
    return sign * (hours * 3600 + minutes * 60) * 1_000_000
