"""Capped lists: greedy by score over all allowed items, however far down the list goes (:mod:`diffcdr.filtering.caps`).

The best items of a user, a pool, usually fill the list. If not, the items with a spent value are removed from the
catalogue, and the best of the remaining ones are searched for: none of them is better than the pool's last item, so
going on with them is going further down. Each such round takes at least one item.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffcdr.arrays import BoolArray, Float32Array, Int32Array, Int64Array
from diffcdr.filtering.caps import CapRules, Tally, Values

ROUND_ITEMS = 64
"""How many more items are searched for at least, if a pool does not fill a list."""

Lists = tuple[Int32Array, Float32Array]
Further = Callable[[int, BoolArray, Int32Array, int], Lists]
"""(user, items with a spent value bool [m], rows already looked at, number wanted) -> further items, best first."""


class PoolCaps:
    """Caps within the pools of many users, item rows int32 [B, P], while items are taken in any order."""

    def __init__(self, rules: CapRules, rows: Int32Array) -> None:
        self._rules, self._rows = rules, rows
        known, places = np.unique(rows, return_inverse=True)
        self._values = rules.values(np.maximum(known, 0))
        self._places = places.reshape(rows.shape)
        self.tallies = [rules.tally() for _ in range(len(rows))]
        """One for each user."""

    def values(self, user: int) -> list[tuple[Values, ...]]:
        """The values of each item of the pool of ``user``."""
        return [self._values[place] for place in self._places[user].tolist()]

    def take(self, user: int, place: int) -> Int64Array:
        """Take the item at ``place`` of the pool; the places that may not be taken any more."""
        tally = self.tallies[user]
        if not tally.take(self._values[self._places[user, place]]):
            return np.empty(0, dtype=np.int64)
        return np.flatnonzero([not tally.admits(values) for values in self.values(user)])


def capped(pool: Lists, caps: PoolCaps, *, k: int) -> Lists:
    """The first ``k`` items of each pool that caps admit, -1 and -inf after the last; ``caps`` has them taken."""
    rows, scores = _none(len(pool[0]), k)
    ends = np.count_nonzero(pool[0] >= 0, axis=1).tolist()
    for user, end in enumerate(ends):
        tally, kept = caps.tallies[user], []
        for place, values in enumerate(caps.values(user)[:end]):
            if tally.admits(values):
                tally.take(values)
                kept.append(place)
                if len(kept) == k:
                    break
        rows[user, : len(kept)], scores[user, : len(kept)] = pool[0][user, kept], pool[1][user, kept]
    return rows, scores


def filled(lists: Lists, pool: Int32Array, caps: PoolCaps, *, rules: CapRules, items: int, further: Further) -> Lists:
    """``lists``, in place, with those that the pools did not fill continued from the rest of the ``items``."""
    k = lists[0].shape[1]
    everything = np.arange(items)
    # A pool that is not full holds all there is.
    short = np.flatnonzero((lists[0][:, -1] < 0) & (pool[:, -1] >= 0))
    for user in short.tolist():
        tally, seen = caps.tallies[user], pool[user]
        count = int(np.count_nonzero(lists[0][user] >= 0))
        while count < k:
            wanted = max(ROUND_ITEMS, 2 * (k - count))
            rows, scores = further(user, rules.barred(everything, tally), seen, wanted)
            count = _continue(lists, user, count, (rows, scores), rules=rules, tally=tally)
            if len(rows) < wanted:
                break
            seen = np.concatenate([seen, rows])
    return lists


def _continue(lists: Lists, user: int, count: int, more: Lists, *, rules: CapRules, tally: Tally) -> int:
    """Take what ``tally`` admits of ``more``; how long the list is then."""
    rows, scores = more
    for row, score, values in zip(rows.tolist(), scores.tolist(), rules.values(rows), strict=True):
        if tally.admits(values):
            tally.take(values)
            lists[0][user, count], lists[1][user, count] = row, score
            count += 1
            if count == lists[0].shape[1]:
                break
    return count


def capped_order(order: Int32Array, rules: CapRules, tally: Tally, *, k: int) -> Int32Array:
    """Up to ``k`` of the items in ``order`` that ``tally`` admits, which has them taken."""
    order = order[~rules.barred(order, tally)]
    kept: list[int] = []
    for row, values in zip(order.tolist(), rules.values(order), strict=True):
        if len(kept) == k:
            break
        if tally.admits(values):
            tally.take(values)
            kept.append(row)
    return np.array(kept, dtype=np.int32)


def _none(users: int, k: int) -> Lists:
    return np.full((users, k), -1, dtype=np.int32), np.full((users, k), -np.inf, dtype=np.float32)
