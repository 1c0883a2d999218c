"""Findings of cleaning: records that are left out, by reason, and things worth a note."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from diffcdr.bundle.ids import MAX_ID_BYTES

EXCLUDED = "excluded_user"

REASONS = {
    EXCLUDED: "the user is to be left out",
    "broken_row": "the record cannot be parsed",
    "id_not_exact": "an id is a rounded number, such as 1.23457E+11 or a float above 2^53: its digits are lost",
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

NOTES = {
    "ids_blanks_taken_off": "ids with blanks at an end, which were taken off",
    "ids_letters_composed": "ids with decomposed letters, which were composed (NFC)",
    "ids_floats_made_whole": "ids written as floats, which were made whole (7.0 is 7)",
    "ratings_with_decimal_comma": "ratings with a decimal comma",
    "time_not_understood": "times that are not understood",
    "time_in_future": "times in the future",
    "time_zero": "times of zero (1970)",
    "time_missing": "ratings without a time, of a file that has a column for it",
}
"""What is counted of records that are kept or not."""


NOTE_LABELS = {
    "ids_blanks_taken_off": "ids trimmed",
    "ids_letters_composed": "ids composed (NFC)",
    "ids_floats_made_whole": "ids made whole (7.0)",
    "ratings_with_decimal_comma": "decimal commas",
    "time_not_understood": "times not understood",
    "time_in_future": "times in the future",
    "time_zero": "times of zero (1970)",
    "time_missing": "times missing",
}
"""``NOTES`` in a few words, for tables."""


@dataclass(frozen=True)
class CleaningReport:
    """What cleaning did. ``dropped[reason]`` (only reasons that occurred); rows count from 1, without the header.

    ``noted``: counts by the keys of ``NOTES``; ``how``: what was recognised of the file.
    """

    name: str
    rows_read: int
    rows_kept: int
    dropped: dict[str, int]
    first_bad_row: int | None = None
    first_bad_reason: str | None = None
    noted: dict[str, int] = field(default_factory=dict)
    how: dict[str, str] = field(default_factory=dict)

    def summary(self) -> str:
        """One line for people."""
        line = f"{self.name}: {self.rows_read:,} rows read, {self.rows_kept:,} kept"
        if self.dropped:
            line += "; left out " + ", ".join(f"{count:,} {reason}" for reason, count in self.dropped.items())
        if self.first_bad_row is not None and self.first_bad_reason is not None:
            line += f" (first bad row: {self.first_bad_row:,}, {REASONS[self.first_bad_reason]})"
        return line


@dataclass(frozen=True)
class Findings:
    """What cleaning found in some records of a file; those of all its parts add up to the file's.

    ``dropped[reason]``: records left out; ``first_bad``: the first of them (of users not to be left out), from 0, its
    reason, and how its user, item and rating look. ``noted``: by the keys of ``NOTES``; ``example[note]``: the first
    text it counts. ``lowest``, ``highest``: of the finite ratings. ``units``: times by how many numbers a second has.
    ``excluded``: the users to be left out that occur, sorted.
    """

    rows: int
    dropped: dict[str, int]
    first_bad: tuple[int, str, str] | None = None
    noted: dict[str, int] = field(default_factory=dict)
    example: dict[str, str] = field(default_factory=dict)
    lowest: float | None = None
    highest: float | None = None
    units: dict[str, int] = field(default_factory=dict)
    excluded: tuple[str, ...] = ()

    def __add__(self, other: Findings) -> Findings:
        """Of these records and, after them, those of ``other``."""
        first = self.first_bad
        if first is None and other.first_bad is not None:
            place, reason, shown = other.first_bad
            first = (self.rows + place, reason, shown)
        return Findings(
            self.rows + other.rows,
            _sum(self.dropped, other.dropped, order=REASONS),
            first,
            _sum(self.noted, other.noted, order=NOTES),
            other.example | self.example,
            min((each for each in (self.lowest, other.lowest) if each is not None), default=None),
            max((each for each in (self.highest, other.highest) if each is not None), default=None),
            _sum(self.units, other.units, order=sorted({*self.units, *other.units})),
            tuple(sorted({*self.excluded, *other.excluded})),
        )

    @property
    def range(self) -> tuple[float, float] | None:
        """The lowest and the highest finite rating; None where there is none."""
        return None if self.lowest is None or self.highest is None else (self.lowest, self.highest)

    @property
    def usable(self) -> int:
        """Records not left out."""
        return self.rows - sum(self.dropped.values())

    @property
    def mixed_times(self) -> bool:
        """Whether times are in several units, which must be converted before they are compared."""
        return len(self.units) > 1

    def as_json(self) -> str:
        """As JSON, which :meth:`from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Findings:
        """What :meth:`as_json` wrote."""
        parts = json.loads(text)
        first = parts["first_bad"]
        parts["first_bad"] = None if first is None else (first[0], first[1], first[2])
        parts["excluded"] = tuple(parts["excluded"])
        return cls(**parts)

    def report(self, name: str, *, kept: int, how: dict[str, str] | None = None) -> CleaningReport:
        """The report on the file ``name``, of which ``kept`` ratings are left after duplicates are merged."""
        dropped = dict(self.dropped)
        if duplicates := self.usable - kept:
            dropped["duplicate"] = duplicates
        row, reason = (None, None) if self.first_bad is None else (self.first_bad[0] + 1, self.first_bad[1])
        return CleaningReport(name, self.rows, kept, dropped, row, reason, self.noted, how or {})


def _sum(one: dict[str, int], other: dict[str, int], *, order: Iterable[str]) -> dict[str, int]:
    total = {name: one.get(name, 0) + other.get(name, 0) for name in order}
    return {name: count for name, count in total.items() if count}
