"""The one rule for ids in every file: ratings, titles, lists of users.

blanks at the ends          taken away                          " u1 "       -> "u1"
decomposed letters          composed (Unicode NFC)              "e" + U+0301 -> "é"
words for nothing           no id at all                        "NULL", "nan", "\\N", …
whole numbers as floats     their digits                        "7.0", 7.0, "1e+05" -> "7", "100000"
floats of which digits      no id at all, counted apart         "1.23457E+11", 1e17
are lost
all else                    as it stands: upper and lower case, leading zeros, "1e5", "7.5"
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import polars as pl

NO_ID = frozenset(
    ["NULL", "Null", "null", "(null)", "NaN", "nan", "NAN", "None", "NA", "N/A", "n/a", "<NA>", "#N/A", "\\N", "NaT"]
    + ["undefined"]
)
"""Words that programs write where there is nothing."""

LARGEST_WHOLE = 2**53
"""Above it a float no longer holds every whole number, so neighbouring ids become one."""
_LARGEST_WHOLE_F32 = 2**24

_ZEROS = re.compile(r"([+-]?(?:0|[1-9]\d*))\.0+")
# A point or a plus sign has to be there: "1e5" may be a hexadecimal id.
_SCIENTIFIC = re.compile(r"[+-]?\d(?:\.\d*)?e\+?\d{1,3}", re.IGNORECASE)
_SPREADSHEET = re.compile(r"\d(?:\.\d{1,5})?E\+\d{2}")
_SPREADSHEET_EXPONENT = 11
_DOUBTFUL = r"\.0+$|\.?\d*[eE]\+?\d{1,3}$"

_EDGES = (" ", "\t", "\r", "\n", "\v", "\f")

TRIMMED, COMPOSED, WHOLE, INEXACT = "blanks_taken_off", "letters_composed", "floats_made_whole", "digits_lost"


@dataclass(frozen=True)
class Ids:
    """``ids``: text, null where there is none. ``inexact``: bool, where digits are lost (null id); None for nowhere.

    ``changed``: rows that the rule changed, by what was done.
    """

    ids: pl.Series
    inexact: pl.Series | None
    changed: dict[str, int]


def normal_id(text: str) -> tuple[str | None, str | None]:
    """``text`` by the rule (None for no id), and what was done to it (None for nothing)."""
    bare = text.strip().strip("\ufeff")
    composed = unicodedata.normalize("NFC", bare)
    done = COMPOSED if composed != bare else TRIMMED if bare != text else None
    if composed in NO_ID:
        return None, None
    if match := _ZEROS.fullmatch(composed):
        return _whole(int(match[1]))
    if _SCIENTIFIC.fullmatch(composed) and re.search(r"[.+]", composed[1:]):
        return _from_scientific(composed)
    return composed, done


def apply_rule(column: pl.Series) -> Ids:
    """The ids of ``column``, of any type.

    Raises:
        TypeError: it holds lists or records.
    """
    if column.dtype.is_nested():
        raise TypeError(f"{column.name} holds {column.dtype}")
    if column.dtype.is_float():
        return _of_floats(column)
    if column.dtype.is_integer() or column.dtype == pl.Null:
        return Ids(column.cast(pl.String), None, {})
    return _of_text(column.cast(pl.String))


def normal_ids(column: pl.Series) -> pl.Series:
    """:func:`apply_rule` without the account of it."""
    return apply_rule(column).ids


def _of_text(column: pl.Series) -> Ids:
    doubtful = column.filter(_screen(column)).unique()
    if not len(doubtful):
        return Ids(column, None, {})
    rule = {text: normal_id(text) for text in doubtful.to_list()}
    rule = {text: result for text, result in rule.items() if result[0] != text}
    if not rule:
        return Ids(column, None, {})
    return _replace(column, rule)


def _replace(column: pl.Series, rule: Mapping[str, tuple[str | None, str | None]]) -> Ids:
    old = pl.Series(list(rule), dtype=pl.String)
    done = column.replace_strict(
        old, pl.Series([what for _, what in rule.values()], dtype=pl.String), default=None, return_dtype=pl.String
    )
    ids = column.replace_strict(
        old, pl.Series([new for new, _ in rule.values()], dtype=pl.String), default=column, return_dtype=pl.String
    )
    counts = {what: int((done == what).sum()) for what in (TRIMMED, COMPOSED, WHOLE, INEXACT)}
    inexact = (done == INEXACT).fill_null(False) if counts[INEXACT] else None
    return Ids(ids.rename(column.name), inexact, {what: count for what, count in counts.items() if count})


def _screen(column: pl.Series) -> pl.Series:
    """Rows that the rule may change, told by comparisons that cost next to nothing for plain ids."""
    text = pl.col(column.name)
    # Blanks come before all other signs, so text that begins with one comes before "!".
    edges = [text < "!", *(text.str.ends_with(edge) for edge in _EDGES)]
    plain = pl.any_horizontal(text.str.len_bytes() != text.str.len_chars(), text.is_in(sorted(NO_ID)), *edges)
    dotted = text.str.contains(".", literal=True) | text.str.contains("+", literal=True)
    found = column.to_frame().select(plain.fill_null(False).alias("plain"), dotted.fill_null(False).alias("dotted"))
    if not found["dotted"].any():
        return found["plain"]
    # Most ids with a point, such as mail addresses, are told from numbers by a pattern sooner than one by one.
    numbers = column.filter(found["dotted"]).str.contains(_DOUBTFUL)
    return found["plain"] | found["dotted"].set(found["dotted"], False).scatter(found["dotted"].arg_true(), numbers)


def _of_floats(column: pl.Series) -> Ids:
    largest = _LARGEST_WHOLE_F32 if column.dtype == pl.Float32 else LARGEST_WHOLE
    number = pl.col(column.name)
    whole = number.is_finite() & (number == number.round())
    found = column.to_frame().select(
        pl.when(whole & (number.abs() <= largest))
        .then(number.cast(pl.Int64, strict=False).cast(pl.String))
        .when(number.is_finite() & ~whole)
        .then(number.cast(pl.String))
        .alias(column.name),
        (whole & (number.abs() > largest)).fill_null(False).alias("inexact"),
        (whole & (number.abs() <= largest)).fill_null(False).alias("whole"),
    )
    counts = {WHOLE: int(found["whole"].sum()), INEXACT: int(found["inexact"].sum())}
    return Ids(
        found[column.name],
        found["inexact"] if counts[INEXACT] else None,
        {what: count for what, count in counts.items() if count},
    )


def _from_scientific(text: str) -> tuple[str | None, str | None]:
    value = Decimal(text)
    exponent = int(re.split("[eE]", text)[1])
    # Spreadsheets show eleven digits and more with six: what the others were nobody knows.
    if _SPREADSHEET.fullmatch(text) and exponent >= _SPREADSHEET_EXPONENT:
        return None, INEXACT
    if value != value.to_integral_value():
        return text, None
    return _whole(int(value))


def _whole(number: int) -> tuple[str | None, str | None]:
    return (str(number), WHOLE) if abs(number) <= LARGEST_WHOLE else (None, INEXACT)
