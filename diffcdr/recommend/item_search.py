"""Searches one bundle's items for the lists of many users: all items or the allowed ones, diverse or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from diffcdr.arrays import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array
from diffcdr.bundle.reader import Bundle
from diffcdr.device.health import DeviceHealth
from diffcdr.device.names import Device
from diffcdr.errors import BundleError, DeviceError
from diffcdr.filtering.capped_lists import PoolCaps, capped, filled
from diffcdr.filtering.caps import CapRules
from diffcdr.filtering.catalogue import Allowed, Catalogue
from diffcdr.recommend.query import Query
from diffcdr.search.approximate import open_search
from diffcdr.search.device_search import DeviceTopK
from diffcdr.search.diversity import diversify, pool_size
from diffcdr.search.placing import Search, search_on
from diffcdr.search.sparse_part import Neighbours, SparsePart
from diffcdr.search.topk import MaskedRows, TopK, typical_norm

SHORT = 100
"""Longer lists are searched separately: 500 items take about four times as long as 20, and would delay the others."""
SPARE = 16
"""How many extra items are searched for if some of the items found may be removed."""

Lists = tuple[Int32Array, Float32Array]
"""Item rows int32 [B, k] and scores float32 [B, k], best first; -1 and -inf if fewer are left."""


@dataclass(frozen=True)
class Wanted:
    """Lists of B users: their vectors [B, dim], masked items, ``diversity`` [B] (zero for all or for none), ..."""

    vectors: Float32Array
    k: int
    masked: MaskedRows
    diversity: Float64Array
    sparse: SparsePart | None = None
    allowed: Allowed | None = None
    """... and the items that all of them may contain, ..."""
    caps: CapRules | None = None
    """... with at most so many of a value."""


class _Finds(Protocol):
    def __call__(self, users: Float32Array, k: int, masked: MaskedRows, sparse: SparsePart | None, /) -> Lists: ...


class ItemSearch:
    """Searches the items of one bundle. Safe to share between threads: after construction only its speed changes."""

    def __init__(
        self, bundle: Bundle, sample: Float32Array, *, device: Device, search_device: Device, health: DeviceHealth
    ) -> None:
        """Lay out the items.

        Args:
            bundle: an open bundle, its tables checked.
            sample: float32 [S, dim], vectors as users have.
            device: where a transfer graph runs.
            search_device: see :class:`diffcdr.recommend.recommender.Recommender`.
            health: records failures of a GPU.

        Raises:
            BundleError, DeviceError, MissingExtraError: the items cannot be searched, or not on that device.
        """
        items, scoring = bundle.target_items, bundle.manifest.scoring
        norm = typical_norm(sample)
        exact = TopK(items.vectors, items.biases, offset=scoring.offset, typical_norm=norm)
        listed = open_search(exact, items.index, bundle.manifest.search, bundle=bundle.path)
        self.stage = "topk" if listed is exact else "approximate"
        """The stage that the time of a search is recorded as."""
        if bundle.manifest.sparse is not None:
            check_searchable(bundle, search_device)
            search_device = "cpu"
        self._health = health
        self._topk: Search = search_on(
            search_device, listed, items=items, device=device, sample=sample, health=health, bundle=bundle.path
        )
        self._exact: TopK | DeviceTopK = self._topk if isinstance(self._topk, DeviceTopK) else exact
        self._compiled = False
        self._vectors = items.vectors
        self.catalogue = Catalogue(items, exact, offset=scoring.offset, typical_norm=norm)
        """Which items may be in a list."""

    @property
    def prefixes(self) -> bool:
        """Whether a shorter list is the beginning of a longer one."""
        return self._topk.prefixes

    @property
    def device(self) -> str:
        """Where large searches run now: ``cpu`` or ``cuda:N``."""
        return "cpu" if self._health.lost is not None else self._topk.device

    def compile(self, neighbours: Neighbours | None) -> None:
        """See :meth:`TopK.compile`."""
        if isinstance(self._exact, TopK):
            self._exact.compile(neighbours)
        else:  # the bundle has no sparse term
            self._exact.compile()
        self._compiled = True

    def find(self, wanted: Wanted) -> Lists:
        """The lists that are ``wanted``."""
        diverse = bool(wanted.diversity.any())
        length = pool_size(wanted.k, self._topk.n_items) if diverse else wanted.k
        if wanted.caps is not None:
            return self._capped(wanted, wanted.caps, diverse=diverse)
        pool, scores = self._best(wanted, length)
        if not diverse:
            return pool, scores
        return diversify(pool, scores, self._vectors, k=wanted.k, diversity=wanted.diversity)

    def _capped(self, wanted: Wanted, rules: CapRules, *, diverse: bool) -> Lists:
        pool, scores = self._best(wanted, pool_size(wanted.k, self._topk.n_items))
        caps = PoolCaps(rules, pool)
        if diverse:
            lists = diversify(pool, scores, self._vectors, k=wanted.k, diversity=wanted.diversity, taken=caps.take)
        else:
            lists = capped((pool, scores), caps, k=wanted.k)
        allowed = None if wanted.allowed is None else wanted.allowed.mask

        def further(user: int, barred: BoolArray, seen: Int32Array, k: int) -> Lists:
            left = ~barred if allowed is None else allowed & ~barred
            left[seen] = False
            rows, found = self.catalogue.remaining(np.flatnonzero(left)).search(
                wanted.vectors[[user]],
                k,
                masked=wanted.masked.take(np.array([user])),
                sparse=None if wanted.sparse is None else wanted.sparse.of(np.array([user])),
            )
            there = rows[0] >= 0
            return rows[0][there], found[0][there]

        return filled(lists, pool, caps, rules=rules, items=self._topk.n_items, further=further)

    def _best(self, wanted: Wanted, k: int) -> Lists:
        users, masked, sparse, allowed = wanted.vectors, wanted.masked, wanted.sparse, wanted.allowed
        # Filters and caps use only the exact search; for unavailable items alone, the approximate one does.
        exactly = wanted.caps is not None or (allowed is not None and allowed.meeting is not None)
        find: _Finds = self._among_all if exactly else self._among_listed
        if allowed is None:
            return find(users, k, masked, sparse)
        if allowed.subset is not None:
            subset = allowed.subset

            def among(users: Float32Array, k: int, masked: MaskedRows, sparse: SparsePart | None, /) -> Lists:
                return subset.search(users, k, masked=masked, sparse=sparse, compiled=self._compiled)

            find = among
        passed_over = allowed.passed_over
        if passed_over is None:
            return find(users, k, masked, sparse)
        return _passing_over(find, passed_over, users, k, masked, sparse)

    def _among_listed(self, users: Float32Array, k: int, masked: MaskedRows, sparse: SparsePart | None, /) -> Lists:
        if isinstance(self._topk, TopK):
            return self._topk.search(users, k, masked=masked, sparse=sparse)
        return self._topk.search(users, k, masked=masked)  # the bundle has no sparse term

    def _among_all(self, users: Float32Array, k: int, masked: MaskedRows, sparse: SparsePart | None, /) -> Lists:
        if isinstance(self._exact, TopK):
            return self._exact.search(users, k, masked=masked, sparse=sparse)
        return self._exact.search(users, k, masked=masked)


def _passing_over(  # noqa: PLR0913, PLR0917 - a search, and what it is asked
    find: _Finds,
    passed_over: BoolArray,
    users: Float32Array,
    k: int,
    masked: MaskedRows,
    sparse: SparsePart | None,
) -> Lists:
    """The lists of ``find`` without the items ``passed_over`` [m]: finds some extra items and removes those.

    Users left with too few items are searched again with these items masked.
    """
    share = np.count_nonzero(passed_over) / len(passed_over)
    longer = min(len(passed_over), int(k / max(0.4, 1.0 - share)) + SPARE)
    rows, scores = find(users, longer, masked, sparse)
    good = (rows >= 0) & ~passed_over[rows]
    order = np.argsort(~good, axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(good, order, axis=1)
    lists = np.full((len(users), k), -1, dtype=np.int32), np.full((len(users), k), -np.inf, dtype=np.float32)
    width = order.shape[1]
    lists[0][:, :width] = np.where(kept, np.take_along_axis(rows, order, axis=1), -1)
    lists[1][:, :width] = np.where(kept, np.take_along_axis(scores, order, axis=1), np.float32(-np.inf))
    short = np.flatnonzero((np.count_nonzero(good, axis=1) < k) & (rows[:, -1] >= 0) & (longer < len(passed_over)))
    barred = np.flatnonzero(passed_over).astype(np.int32) if len(short) else np.empty(0, dtype=np.int32)
    for user in short.tolist():
        one = np.array([user])
        both = MaskedRows.pack([np.concatenate([masked.take(one).rows, barred])])
        mine = None if sparse is None else sparse.of(one)
        lists[0][one], lists[1][one] = find(users[one], k, both, mine)
    return lists


def check_searchable(bundle: Bundle, device: Device) -> None:
    """Refuse searches that cannot add a sparse term: with an item index, or on a required GPU."""
    if bundle.manifest.search is not None:
        raise BundleError(f"bundle {bundle.path} has a sparse term and an item index; publish it without the index")
    if device not in ("auto", "cpu"):
        raise DeviceError(
            f"bundle {bundle.path} scores with a sparse term, which is searched on the CPU; set the search's device to "
            "auto or cpu"
        )


def searched_together(
    queries: Sequence[Query], chosen: Sequence[int], allowed: Sequence[Allowed | None], *, alike: bool
) -> list[Int64Array]:
    """Groups of ``chosen`` queries, one search each: short plain lists, long ones, and diverse ones with one ``k``.

    ``alike``: a shorter list is the beginning of a longer one; if not, plain lists are also grouped by ``k``. All
    queries of a group allow the same items and have the same caps.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for i in chosen:
        diverse, mine = queries[i].diversity > 0.0, allowed[i]
        k = queries[i].k
        capped = queries[i].caps and (queries[i].caps, None if (now := queries[i].changes) is None else now.key)
        key = (None if mine is None else mine.key, capped, diverse, int(k > SHORT) if alike and not diverse else k)
        groups.setdefault(key, []).append(i)
    return [np.array(group) for group in groups.values()]
