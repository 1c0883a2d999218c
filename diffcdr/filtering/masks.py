"""From a filter to the items that meet it: bool [m], whole columns at a time."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from diffcdr.arrays import BoolArray, Int64Array
from diffcdr.bundle.attributes import AVAILABLE, TAGS, Attribute, AttributeKind
from diffcdr.bundle.reader import TargetItems
from diffcdr.filtering.changes import ItemChanges
from diffcdr.filtering.item_filter import COMPARED, Condition, FilterError, ItemFilter

ASKED: Mapping[AttributeKind, tuple[str, ...]] = {
    "number": COMPARED,
    "boolean": ("eq", "ne"),
    "text": ("any", "none", *COMPARED),
    "category": ("any", "all", "none"),
}
"""What may be asked of each kind."""
_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}


def check_filter(wanted: ItemFilter, columns: Mapping[str, Attribute]) -> None:
    """Raise FilterError where ``wanted`` names an attribute that is not there, or asks it what its kind does not tell.

    ``tags`` are always there, and ``available`` is no attribute to be compared: a filter has a field for it.
    """
    for name, condition in wanted.where.items():
        pointer = "/where/" + name.replace("~", "~0").replace("/", "~1")
        if name == AVAILABLE:
            raise FilterError(pointer, "set available to true or false next to where")
        if name not in columns and name != TAGS:
            known = ", ".join(sorted({*columns, TAGS} - {AVAILABLE}))
            raise FilterError(pointer, f"the bundle has no such attribute; it has {known}")
        kind = columns[name].kind if name in columns else "category"
        for asked, value in condition.given().items():
            if asked not in ASKED[kind]:
                raise FilterError(f"{pointer}/{asked}", f"{name} is a {kind}; it takes {', '.join(ASKED[kind])}")
            if asked in COMPARED and not _is_of(kind, value):
                raise FilterError(f"{pointer}/{asked}", f"{name} is a {kind}, and {value!r} is not one")


def _is_of(kind: AttributeKind, value: Any) -> bool:
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, bool if kind == "boolean" else str)


def meeting(
    wanted: ItemFilter, items: TargetItems, changes: ItemChanges | None, *, rows: Int64Array | None
) -> BoolArray:
    """Which of ``items`` meet ``wanted``, bool [m], whether they are available or not.

    ``rows``: of the items that it names, None where it names none.

    Raises:
        FilterError: as :func:`check_filter`.
    """
    columns = items.attributes.columns
    check_filter(wanted, columns)
    found = np.ones(len(items.ids), dtype=np.bool_)
    if rows is not None:
        found[:] = False
        found[rows] = True
    for name, condition in wanted.where.items():
        found &= _tags(condition, items, changes) if name == TAGS else _of_column(columns[name], condition)
    return found


def _tags(condition: Condition, items: TargetItems, changes: ItemChanges | None) -> BoolArray:
    column = items.attributes.columns.get(TAGS)
    if column is None:
        found = np.full(len(items.ids), condition.any is None and condition.all is None)
    else:
        found = _of_column(column, condition)
    tagged = [] if changes is None else [(item, each.tags) for item, each in list(changes.entries.items())]
    said = [(item, tags) for item, tags in tagged if tags is not None]
    for row, (_, tags) in zip(items.ids.rows([item for item, _ in said]).tolist(), said, strict=True):
        if row >= 0:
            found[row] = _meets(frozenset(tags), condition)
    return found


def _meets(tags: frozenset[str], condition: Condition) -> bool:
    return (
        (condition.any is None or not tags.isdisjoint(condition.any))
        and (condition.all is None or tags.issuperset(condition.all))
        and (condition.none is None or tags.isdisjoint(condition.none))
    )


def _of_column(column: Attribute, condition: Condition) -> BoolArray:
    given = condition.given()
    if column.kind == "category":
        return _of_categories(column, condition)
    found = np.ones(len(column.values), dtype=np.bool_)
    valued = any(asked != "none" for asked in given)
    present = np.ones(len(found), dtype=np.bool_) if column.present is None else np.asarray(column.present)
    for asked, value in given.items():
        if asked in ("any", "none"):
            codes = [place for place, there in map(column.place, value) if there]
            among = np.isin(column.values, np.array(codes, dtype=column.values.dtype)) & present
            found &= among if asked == "any" else ~among
        elif asked == "ne":
            found &= ~_compared(column, "eq", value)
        else:
            found &= _compared(column, asked, value)
    return found & present if valued else found


def _compared(column: Attribute, asked: str, value: Any) -> BoolArray:
    values = column.values
    if column.kind == "text":
        place, there = column.place(value)
        if asked == "eq":
            same: BoolArray = np.equal(values, place) & there
            return same
        # Words between places: those below stand before the place, and what is equal at it.
        below: BoolArray = np.less(values, place + there if asked in ("lte", "gt") else place)
        return below if asked in ("lt", "lte") else ~below
    if column.kind == "number":
        return _numbers(values, asked, value)
    found: BoolArray = np.equal(values, value)
    return found


def _numbers(values: Any, asked: str, value: float) -> BoolArray:
    """Exact: neither side is rounded to the kind of the other."""
    if values.dtype.kind == "i" and isinstance(value, float):
        if asked == "eq" and not value.is_integer():
            return np.zeros(len(values), dtype=np.bool_)
        value = math.ceil(value) if asked in ("lt", "gte") else math.floor(value)
    if values.dtype.kind == "f":
        try:
            value = np.float64(value)
        except OverflowError:  # a whole number beyond all floats
            value = np.float64(math.inf if value > 0 else -math.inf)
    found: BoolArray = _COMPARE[asked](values, value)
    return found


def _of_categories(column: Attribute, condition: Condition) -> BoolArray:
    assert column.indptr is not None and column.words is not None
    n_words, indptr = len(column.words.offsets) - 1, column.indptr

    def having(words: tuple[str, ...]) -> BoolArray:
        wanted = np.zeros(max(1, n_words), dtype=np.bool_)
        wanted[[place for place, there in map(column.place, words) if there]] = True
        before = np.zeros(len(column.values) + 1, dtype=np.int64)
        np.cumsum(wanted[column.values], out=before[1:])
        return before[indptr[1:]] > before[indptr[:-1]]

    found = np.ones(len(indptr) - 1, dtype=np.bool_)
    if condition.any is not None:
        found &= having(condition.any)
    for word in condition.all or ():
        found &= having((word,))
    if condition.none is not None:
        found &= ~having(condition.none)
    return found
