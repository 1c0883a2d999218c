"""Checks for data that can be read but makes no sense: it is refused with a remedy, or needs ``--accept NAME``.

A doubt that the caller knows better about is laid aside with ``--accept NAME``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from diffcdr.errors import InputError
from training.data.findings import REASONS, Findings

T = TypeVar("T")

DOUBTS = {
    "out-of-range": "many ratings lie outside the rating range",
    "unreadable": "most records cannot be parsed",
    "equal-ratings": "every rating of a file is the same",
    "same-ratings": "source and target hold the same ratings",
    "same-items": "the item ids of both files are the same",
    "same-numbers": "both files number the same users from 0 or 1, and may mean others by it",
    "unmatched-users": "none of the listed users occurs",
    "unmatched-titles": "no title belongs to an item",
}
"""What is asked about, by the name that ``--accept`` takes."""

SCALES = ((0, 1), (1, 5), (0.5, 5), (0, 5), (1, 7), (1, 10), (0.5, 10), (0, 10), (-10, 10), (1, 100), (0, 100))
"""Ranges that ratings usually have, the narrowest first that holds a file's is proposed."""

_REFUSED_SHARE, _REFUSED_SHARE_GIVEN, _WARNED_SHARE = 1 / 3, 0.9, 0.01
_FEW = 20
"""So many records are not enough to tell a scale by."""
_NARROW = 0.5
"""Ratings on a scale of no more than this share of a range that was given are probably not on that range."""
_UNREADABLE_SHARE = 0.5


class Doubt(InputError):
    """Something that is most probably a mistake; ``--accept`` with its name says that it is meant."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{text}; if it is meant as it is, give --accept {name}")
        self.name = name


def doubt(name: str, text: str, *, accepted: Collection[str]) -> list[str]:
    """Raise the doubt ``name``; where it is accepted, ``text`` as a warning."""
    if name not in accepted:
        raise Doubt(name, text)
    return [text]


def parse_accepted(names: Collection[str]) -> frozenset[str]:
    """The names that ``--accept`` was given. Raises InputError where one is not of ``DOUBTS``."""
    for name in names:
        if name not in DOUBTS:
            raise InputError(f"--accept {name!r} is not the name of a check; names are {', '.join(DOUBTS)}")
    return frozenset(names)


@dataclass(frozen=True)
class Rules:
    """The rules for one domain's ratings: option names for messages, and the doubts that the caller accepts.

    ``range_given``: whether the caller named the rating range.
    """

    side: str = "source"
    range_given: bool = False
    accepted: frozenset[str] = field(default_factory=frozenset)

    @property
    def columns_option(self) -> str:
        """The option that names the columns."""
        return f"--{self.side}-columns"

    @property
    def range_option(self) -> str:
        """The option that names this domain's rating range, and not that of the other."""
        return f"--{self.side}-range"


def all_done(calls: Sequence[Callable[[], T]]) -> list[T]:
    """The results of ``calls``, all of which are made: what is wrong with each of several files is said at once.

    Raises:
        InputError: one raised it; where several did, with all messages, a line each.
    """
    results, errors = [], list[InputError]()
    for call in calls:
        try:
            results.append(call())
        except InputError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise InputError("\n".join(map(str, errors))) from errors[0]
    return results


def judge(name: str, findings: Findings, *, rating_range: tuple[float, float], rules: Rules) -> list[str]:
    """The warnings about the records of the file ``name``.

    Raises:
        InputError: no record is usable, or so few that something else must be meant.
    """
    warnings = []
    dropped = findings.dropped
    broken = dropped.get("broken_row", 0)
    if broken > _UNREADABLE_SHARE * findings.rows and findings.usable:
        warnings += doubt("unreadable", _first(name, findings, broken, "cannot be parsed"), accepted=rules.accepted)
    if not findings.usable:
        raise nothing_left(name, findings, rating_range=rating_range, rules=rules)
    warnings += _range(name, findings, rating_range, rules)
    warnings += _times(name, findings, rules)
    inexact, not_text = dropped.get("id_not_exact", 0), dropped.get("id_not_text", 0)
    if inexact:
        warnings.append(f"{name}: left out {inexact:,} rows of which {REASONS['id_not_exact']}; export ids as text")
    if not_text:
        warnings.append(
            f"{name}: left out {not_text:,} rows of which {REASONS['id_not_text']}; where the file is of another "
            "encoding, give it as --encoding NAME, such as latin-1"
        )
    return warnings


def nothing_left(name: str, findings: Findings, *, rating_range: tuple[float, float], rules: Rules) -> InputError:
    """The error for the file ``name``, where no record is usable: the first bad row, and the remedy."""
    if findings.first_bad is None:
        return InputError(f"{name}: all of its {findings.rows:,} rows belong to excluded users; check the list")
    row, reason, shown = findings.first_bad
    low, high = rating_range
    if reason == "rating_out_of_range":
        remedy = f"ratings must lie in {low:g} to {high:g}: set another range or rescale them"
        remedy += _did_you_mean(findings, rules)
    elif reason in ("missing_rating", "rating_not_a_number", "rating_not_finite"):
        remedy = f"ratings must be finite numbers: check which column holds them ({rules.columns_option} rating=NAME)"
    elif reason == "broken_row":
        remedy = "each line must be one whole record: export the file again"
    elif reason == "id_not_exact":
        remedy = "export ids as text"
    else:
        remedy = (
            "each record needs a user id, an item id and a rating: check the file and its column names "
            f"({rules.columns_option})"
        )
    what = "record" if reason == "broken_row" else "user, item, rating"
    return InputError(
        f"{name}: none of its {findings.rows:,} rows can be used; first bad row: {row + 1} "
        f"({what}: {shown}): {REASONS[reason]}; {remedy}"
    )


def _first(name: str, findings: Findings, count: int, what: str) -> str:
    row, _, shown = findings.first_bad or (0, "", "")
    return f"{name}: {count:,} of its {findings.rows:,} records {what}; the first is row {row + 1}: {shown}"


def _range(name: str, findings: Findings, rating_range: tuple[float, float], rules: Rules) -> list[str]:
    outside = findings.dropped.get("rating_out_of_range", 0)
    share = outside / max(1, outside + findings.usable)
    if findings.lowest is None or findings.highest is None:
        return []
    if share < _WARNED_SHARE:
        return [] if outside else _wide(name, findings, rating_range, rules)
    low, high = rating_range
    text = (
        f"{name}: {outside:,} of {outside + findings.usable:,} ratings lie outside {low:g} to {high:g}, and would be "
        f"left out; they go from {findings.lowest:g} to {findings.highest:g}{_did_you_mean(findings, rules)}"
    )
    if outside >= _FEW and share >= (_REFUSED_SHARE_GIVEN if rules.range_given else _REFUSED_SHARE):
        return doubt("out-of-range", text, accepted=rules.accepted)
    return [text]


def _wide(name: str, findings: Findings, rating_range: tuple[float, float], rules: Rules) -> list[str]:
    """A range that was given, perhaps for the other domain, and that these ratings use a part of."""
    low, high = rating_range
    scale = _scale(findings)
    if not rules.range_given or findings.usable < _FEW or scale is None or findings.lowest == findings.highest:
        return []
    if scale[1] - scale[0] > _NARROW * (high - low):
        return []
    return [
        f"{name}: ratings go from {findings.lowest:g} to {findings.highest:g}, and the range given is {low:g} to "
        f"{high:g}: predicted ratings may leave what this domain uses{_did_you_mean(findings, rules)}"
    ]


def _did_you_mean(findings: Findings, rules: Rules) -> str:
    scale = _scale(findings)
    return "" if scale is None else f"; did you mean {rules.range_option} {scale[0]:g},{scale[1]:g}?"


def _scale(findings: Findings) -> tuple[float, float] | None:
    """The narrowest of ``SCALES`` that holds all ratings; None where there are none."""
    low, high = findings.lowest, findings.highest
    if low is None or high is None:
        return None
    return next(((a, b) for a, b in SCALES if a <= low and high <= b), (low, high))


def _times(name: str, findings: Findings, rules: Rules) -> list[str]:
    noted, warnings = findings.noted, []
    if lost := noted.get("time_not_understood", 0):
        warnings.append(
            f"{name}: {lost:,} of {findings.rows:,} times are not understood, such as "
            f"{findings.example.get('time_not_understood', '')!r}; these ratings have none, and of several of one item "
            f"by one user the last cannot be told: write times as 2010-01-31 23:59:59 or as seconds since 1970, or "
            f"name the column that holds them ({rules.columns_option} timestamp=NAME)"
        )
    if future := noted.get("time_in_future", 0):
        warnings.append(f"{name}: {future:,} times lie in the future")
    zero = noted.get("time_zero", 0)
    if zero:
        warnings.append(f"{name}: {zero:,} times are zero (1970), which may stand for nothing")
    if findings.mixed_times:
        names = {"1": "seconds", "1000": "milliseconds", "1000000": "microseconds", "1000000000": "nanoseconds"}
        counts = ", ".join(f"{count:,} in {names[unit]}" for unit, count in findings.units.items())
        warnings.append(f"{name}: times are of several units ({counts}, by their size); they were made one")
    return warnings
