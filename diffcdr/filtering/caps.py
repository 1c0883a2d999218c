"""Caps: at most so many items of a list may share a value of an attribute.

A capped list is made greedily by score: going down from the best item, each item is taken unless one of its values is
already shared by as many taken items as its cap allows. Items without a value are never left out. A shorter capped
list is therefore the beginning of a longer one.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from diffcdr.arrays import BoolArray, Int32Array, Int64Array
from diffcdr.bundle.attributes import AVAILABLE, TAGS, Attribute
from diffcdr.filtering.item_filter import FilterError

MAX_CAPS = 4
"""Most attributes that one request caps."""

Caps = tuple[tuple[str, int], ...]
"""(attribute, most items that share a value of it), by name."""
CapsLike = Mapping[str, int]
Values = tuple[Hashable, ...]
"""The values of one item; empty if it has none."""


class CapsError(FilterError):
    """Caps that the bundle does not support; ``pointer`` (JSON) names the attribute."""

    part = "caps"


def caps_of(wanted: CapsLike | None) -> Caps:
    """``wanted`` in the form of :class:`diffcdr.recommend.query.Query`. Raises CapsError."""
    caps = tuple(sorted((wanted or {}).items()))
    if len(caps) > MAX_CAPS:
        raise CapsError("", f"at most {MAX_CAPS} attributes can be capped")
    for name, most in caps:
        if not isinstance(most, int) or isinstance(most, bool) or most < 1:
            raise CapsError(pointer_to(name), "a cap is a whole number, at least 1")
    return caps


def parse_caps(text: str | None) -> Caps:
    """The caps parsed from ``text`` (JSON); none for None. Raises CapsError."""
    try:
        found = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise CapsError("", f"this is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise CapsError("", 'write an object, such as {"genre": 3}')
    return caps_of(found)


def check_caps(caps: Caps, columns: Mapping[str, Attribute]) -> None:
    """Raise CapsError if one of ``caps`` names no attribute of the bundle. ``tags`` are always there."""
    known = sorted({*columns, TAGS} - {AVAILABLE})
    for name, _ in caps:
        if name not in known:
            raise CapsError(pointer_to(name), f"the bundle has no such attribute; it has {', '.join(known)}")


def pointer_to(name: str) -> str:
    """The JSON pointer to member ``name``."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


@dataclass(frozen=True)
class CappedAttribute:
    """One attribute's values for capping; ``column`` None: only items of ``changed`` have some.

    ``changed``: values of items that replace the column's, by row, in words.
    """

    column: Attribute | None
    changed: Mapping[int, frozenset[str]] = field(default_factory=dict)

    def of(self, rows: Int32Array | Int64Array) -> list[Values]:
        """The values of the items in ``rows``; equal ones mean the same."""
        found: list[Values] = [()] * len(rows) if self.column is None else _column_values(self.column, rows)
        if self.changed:
            found = [
                values if (own := self.changed.get(row)) is None else tuple(map(self._code, own))
                for row, values in zip(rows.tolist(), found, strict=True)
            ]
        return found

    def having(self, rows: Int32Array | Int64Array, spent: set[Hashable]) -> BoolArray:
        """Which of the items in ``rows`` have a value in ``spent``."""
        found = np.zeros(len(rows), dtype=np.bool_)
        if self.column is not None and spent:
            found = _column_having(self.column, rows, [value for value in spent if not isinstance(value, str)])
        if self.changed and spent:
            places = np.flatnonzero(np.isin(rows, np.fromiter(self.changed, np.int64, len(self.changed))))
            for place in places.tolist():
                own = map(self._code, self.changed[int(rows[place])])
                found[place] = not spent.isdisjoint(own)
        return found

    def _code(self, word: str) -> Hashable:
        """A word of the column as its index there; another as itself."""
        if self.column is None:
            return word
        place, there = self.column.place(word)
        return place if there else word


def _column_values(column: Attribute, rows: Int32Array | Int64Array) -> list[Values]:
    if column.indptr is None:
        values = column.values[rows].tolist()
        if column.present is None:
            return [(value,) for value in values]
        there = column.present[rows].tolist()
        return [(value,) if known else () for value, known in zip(values, there, strict=True)]
    places, ends = _spread(column.indptr, rows)
    flat, stops = column.values[places].tolist(), ends.tolist()
    return [tuple(flat[start:stop]) for start, stop in zip([0, *stops], stops, strict=False)]


def _column_having(column: Attribute, rows: Int32Array | Int64Array, spent: Sequence[Any]) -> BoolArray:
    if column.indptr is None:
        found: BoolArray = np.isin(column.values[rows], np.array(spent, dtype=column.values.dtype))
        return found if column.present is None else found & column.present[rows]
    places, ends = _spread(column.indptr, rows)
    hits = np.isin(column.values[places], np.array(spent, dtype=column.values.dtype))
    before = np.concatenate([[0], np.cumsum(hits)])
    having: BoolArray = before[ends] > before[np.concatenate([[0], ends[:-1]])]
    return having


def _spread(indptr: Int64Array, rows: Int32Array | Int64Array) -> tuple[Int64Array, Int64Array]:
    """Places of all entries of ``rows`` in a CSR, one row after the other, and where each row's entries end."""
    starts = indptr[rows]
    counts = indptr[rows.astype(np.int64) + 1] - starts
    ends: npt.NDArray[np.int64] = np.cumsum(counts)
    return np.repeat(starts - (ends - counts), counts) + np.arange(int(counts.sum())), ends


class Tally:
    """How often each value is among the items taken so far, for one list."""

    def __init__(self, limits: Sequence[int]) -> None:
        self._limits = limits
        self._counts: list[dict[Hashable, int]] = [{} for _ in limits]
        self.spent: list[set[Hashable]] = [set() for _ in limits]
        """The values of each capped attribute that no further item may have."""

    def admits(self, values: Sequence[Values]) -> bool:
        """Whether an item with these ``values`` of each capped attribute may be taken."""
        return all(spent.isdisjoint(mine) for spent, mine in zip(self.spent, values, strict=True))

    def take(self, values: Sequence[Values]) -> bool:
        """Count an item; True if one of its values is spent with it."""
        newly = False
        for limit, counts, spent, mine in zip(self._limits, self._counts, self.spent, values, strict=True):
            for value in mine:
                counts[value] = counts.get(value, 0) + 1
                if counts[value] >= limit:
                    spent.add(value)
                    newly = True
        return newly


@dataclass(frozen=True)
class CapRules:
    """The caps of a request for one bundle: attributes and their limits, parallel."""

    attributes: Sequence[CappedAttribute]
    limits: Sequence[int]

    def tally(self) -> Tally:
        """An empty tally."""
        return Tally(self.limits)

    def values(self, rows: Int32Array | Int64Array) -> list[tuple[Values, ...]]:
        """The values of the items in ``rows``, of each capped attribute."""
        return list(zip(*(attribute.of(rows) for attribute in self.attributes), strict=True))

    def barred(self, rows: Int32Array | Int64Array, tally: Tally) -> BoolArray:
        """Which of the items in ``rows`` have a spent value."""
        found = np.zeros(len(rows), dtype=np.bool_)
        for attribute, spent in zip(self.attributes, tally.spent, strict=True):
            found |= attribute.having(rows, spent)
        return found
