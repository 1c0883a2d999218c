"""The items of one bundle that filters and availability allow; masks are computed once and cached."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from diffcdr.arrays import BoolArray, Int32Array, Int64Array
from diffcdr.bundle.attributes import AVAILABLE, TAGS
from diffcdr.bundle.reader import TargetItems
from diffcdr.filtering.caps import CappedAttribute, CapRules, Caps, check_caps
from diffcdr.filtering.changes import ItemChanges, named_list
from diffcdr.filtering.item_filter import ItemFilter
from diffcdr.filtering.masks import check_filter, meeting
from diffcdr.filtering.subset import Subset
from diffcdr.search.topk import TopK

KEPT_BYTES = 256 << 20
"""Most memory for cached filters."""
KEPT_FILTERS = 1_000
ITEMS_AT_ONCE = 4_096
FEW = 0.5
"""If a smaller share of the items is allowed, only these are searched."""

Key = tuple[object, ...]


class Meeting:
    """The items that meet one filter. ``mask`` bool [m]; ``subset`` if few enough to be searched separately."""

    def __init__(self, mask: BoolArray, subset: Subset | None) -> None:
        self.mask, self.subset = mask, subset

    @cached_property
    def others(self) -> BoolArray:
        """The items that do not meet it."""
        return ~self.mask

    @property
    def nbytes(self) -> int:
        """Memory that it takes, in bytes."""
        return 2 * self.mask.nbytes + (0 if self.subset is None else self.subset.nbytes)


@dataclass(frozen=True, eq=False)
class Allowed:
    """The items that one query allows. ``key`` is equal for equal items.

    ``meeting``: items that meet the filter, None for all; ``withheld`` bool [m]: unavailable items, None for none.
    """

    key: Key
    meeting: Meeting | None
    withheld: BoolArray | None
    unknown: bool = False
    """Whether all items are withheld because availability is unknown."""

    @property
    def subset(self) -> Subset | None:
        """The items to search, or None for all."""
        return None if self.meeting is None else self.meeting.subset

    @cached_property
    def passed_over(self) -> BoolArray | None:
        """Searched items that must not be in a list; None for none."""
        if self.meeting is None or self.meeting.subset is not None:
            return self.withheld
        return self.meeting.others if self.withheld is None else self.meeting.others | self.withheld

    @cached_property
    def mask(self) -> BoolArray | None:
        """Items that may be in a list, bool [m]; None for all."""
        if self.meeting is None:
            return None if self.withheld is None else ~self.withheld
        return self.meeting.mask if self.withheld is None else self.meeting.mask & ~self.withheld

    def rows(self, order: Int32Array, *, start: int, stop: int) -> Int32Array:
        """Rows of ``order[start:stop]`` that may be in a list."""
        part = order[start:stop]
        if self.meeting is not None:
            part = part[self.meeting.mask[part]]
        return part if self.withheld is None else part[~self.withheld[part]]

    @cached_property
    def nothing(self) -> bool:
        """Whether no item may be in a list."""
        return self.mask is not None and not self.mask.any()


class Catalogue:
    """Finds the allowed target items of one bundle. Safe to share between threads."""

    def __init__(self, items: TargetItems, exact: TopK, *, offset: float, typical_norm: float) -> None:
        """``exact``: the search among all ``items``, laid out with ``offset`` and ``typical_norm``."""
        self._items, self._exact = items, exact
        self._layout = {"offset": offset, "typical_norm": typical_norm}
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, Meeting] = OrderedDict()
        self._bytes = 0
        column = items.attributes.columns.get(AVAILABLE)
        self._said = None if column is None else ~column.values
        if column is not None and column.present is not None and self._said is not None:
            self._said &= column.present
        if self._said is not None and not self._said.any():
            self._said = None
        self._latest: tuple[ItemChanges, BoolArray | None] | None = None
        # The origin is held so that its identity is not used again.
        self._tags: tuple[tuple[int, int], Mapping[int, frozenset[str]], object] | None = None

    def check(self, wanted: ItemFilter) -> None:
        """Raise FilterError if the bundle does not support ``wanted``; takes microseconds."""
        check_filter(wanted, self._items.attributes.columns)

    def check_caps(self, caps: Caps) -> None:
        """Raise CapsError if the bundle does not support ``caps``."""
        check_caps(caps, self._items.attributes.columns)

    def rules(self, caps: Caps, changes: ItemChanges | None) -> CapRules | None:
        """``caps`` for this bundle after ``changes``; None for no caps. Raises CapsError."""
        if not caps:
            return None
        self.check_caps(caps)
        columns = self._items.attributes.columns
        attributes = [
            CappedAttribute(columns.get(name), self._tagged(changes) if name == TAGS else {}) for name, _ in caps
        ]
        return CapRules(attributes, [most for _, most in caps])

    def remaining(self, rows: Int64Array) -> Subset:
        """A search among the items in ``rows`` alone, ascending."""
        return Subset(self._exact, (self._items.vectors, self._items.biases), rows, layout=self._layout)

    def allowed(self, wanted: ItemFilter | None, changes: ItemChanges | None) -> Allowed | None:
        """The items that ``wanted`` allows after ``changes``; None for all. Slow unless the filter is cached.

        Raises:
            FilterError: the bundle does not support ``wanted``, or there is no list of the name that it gives.
        """
        key: Key = ()
        found: Meeting | None = None
        if wanted is not None and not wanted.is_open():
            key, found = self._meeting(wanted, changes)
        everything = wanted is not None and not wanted.available
        withheld = None if everything else self._withheld(changes)
        if found is None and withheld is None:
            return None
        number = changes.key if withheld is not None and changes is not None else None
        unknown = changes is not None and not changes.known and not everything
        return Allowed((*key, everything, number), found, withheld, unknown=unknown)

    def _meeting(self, wanted: ItemFilter, changes: ItemChanges | None) -> tuple[Key, Meeting]:
        named = None if wanted.items is None else self._rows(wanted.items)
        uploaded = named_list(wanted, changes)
        own = None if named is None else hashlib.blake2b(named.data).digest()
        key: Key = (wanted.key(), own, None if uploaded is None else uploaded.stamp)
        if TAGS in wanted.where and changes is not None and changes.tags_serial:
            key = (*key, id(changes.origin), changes.tags_serial)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return key, self._kept[key]
        if uploaded is not None:
            listed = self._rows(uploaded.items())
            named = listed if named is None else np.intersect1d(named, listed, assume_unique=True)
        mask = meeting(wanted, self._items, changes, rows=named)
        rows: Int64Array = np.flatnonzero(mask)
        subset = None
        if len(rows) < FEW * len(mask):
            subset = self.remaining(rows)
        made = Meeting(mask, subset)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = made
                self._bytes += made.nbytes
            while self._bytes > KEPT_BYTES or len(self._kept) > KEPT_FILTERS:
                _, gone = self._kept.popitem(last=False)
                self._bytes -= gone.nbytes
        return key, made

    def _rows(self, items: tuple[str, ...]) -> Int64Array:
        """Rows of ``items``, ascending and unique, without unknown items."""
        # A few at a time, so that other threads get the interpreter's lock in between.
        parts = [
            self._items.ids.rows(items[start : start + ITEMS_AT_ONCE]) for start in range(0, len(items), ITEMS_AT_ONCE)
        ]
        rows = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *parts]))
        return np.ascontiguousarray(rows[rows >= 0])

    def _tagged(self, changes: ItemChanges | None) -> Mapping[int, frozenset[str]]:
        """The changed tags of items, by row."""
        if changes is None or not changes.tags_serial:
            return {}
        key = id(changes.origin), changes.tags_serial
        known = self._tags
        if known is None or known[0] != key:
            said = [(item, change.tags) for item, change in list(changes.entries.items()) if change.tags is not None]
            rows = self._items.ids.rows([item for item, _ in said]).tolist()
            found = {row: frozenset(tags) for row, (_, tags) in zip(rows, said, strict=True) if row >= 0}
            self._tags = known = key, found, changes.origin
        return known[1]

    def _withheld(self, changes: ItemChanges | None) -> BoolArray | None:
        if changes is not None and not changes.known:
            return np.ones(len(self._items.ids), dtype=np.bool_)
        if changes is None or not changes.serial:
            return self._said
        with self._lock:
            latest = self._latest
            if latest is None or latest[0].origin is not changes.origin:
                latest = None
            elif latest[0].serial == changes.serial:
                return latest[1]
            found = self._applied(changes, latest)
            self._latest = changes, found
            return found

    def _applied(self, changes: ItemChanges, latest: tuple[ItemChanges, BoolArray | None] | None) -> BoolArray | None:
        ids = self._items.ids
        changed = None if latest is None else changes.since(latest[0].serial)
        before = self._said if latest is None or changed is None else latest[1]
        if changed is None:
            changed = [item for item, change in list(changes.entries.items()) if change.available is not None]
        mask = np.zeros(len(ids), dtype=np.bool_) if before is None else before.copy()
        for item, row in zip(changed, ids.rows(changed).tolist(), strict=True):
            if row >= 0:
                said = changes.entries[item].available
                mask[row] = not said if said is not None else (self._said is not None and self._said[row])
        return mask if mask.any() else None
