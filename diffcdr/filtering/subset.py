"""Exact search in a subset of the items, with the scores and the order of the full search.

An item's score does not depend on which others are searched, so the best of a subset are found by the same arithmetic
over its rows alone: approximate float32 scores, each within a margin of the exact one, and exact scores of whatever can
be among the k best (see :mod:`diffcdr.search.topk`). A large subset that is used repeatedly
gets its own layout, like that of all items, which scores only few of them.
"""

from __future__ import annotations

import numpy as np

from diffcdr.arrays import Float32Array, Float64Array, Int32Array, Int64Array
from diffcdr.search.candidates import EMPTY, above, pack, unpack
from diffcdr.search.exact_scores import ExactScores
from diffcdr.search.sparse_part import SparsePart
from diffcdr.search.topk import MaskedRows, TopK

LAID_OUT_ITEMS = 4_096
"""A smaller subset is scanned faster than it is laid out."""
SEARCHES_BEFORE = 2
"""A filter that is used only once is not worth the layout."""
COMPILED_USERS = 10_000
"""From this many users on, compiled loops of a subset are worth their layout."""
SCORES_AT_ONCE = 1 << 22
"""float32 scores computed at a time: 16 MiB."""


class Subset:
    """The items in ``rows``. Safe to share between threads: laying it out changes no answer."""

    def __init__(
        self, exact: TopK, tables: tuple[Float32Array, Float32Array], rows: Int64Array, *, layout: dict[str, float]
    ) -> None:
        """Gather the items.

        Args:
            exact: the search among all items.
            tables: (vectors float32 [m, dim], biases float32 [m]) that it searches.
            rows: ascending, int64 [n].
            layout: ``offset`` and ``typical_norm``, as of :class:`TopK`.
        """
        self.rows = rows
        self._exact, self._layout = exact, layout
        self._vectors, self._biases = np.ascontiguousarray(tables[0][rows]), np.ascontiguousarray(tables[1][rows])
        self._scores = ExactScores(*tables, offset=layout["offset"])
        self._own: TopK | None = None
        self._searches = self._users = 0
        self._compiled = False

    @property
    def nbytes(self) -> int:
        """Memory once laid out: the vectors three times."""
        return self.rows.nbytes + 3 * (self._vectors.nbytes + self._biases.nbytes)

    def search(
        self,
        users: Float32Array,
        k: int,
        *,
        masked: MaskedRows | None = None,
        sparse: SparsePart | None = None,
        compiled: bool = False,
    ) -> tuple[Int32Array, Float32Array]:
        """Like :meth:`TopK.search` over these items only; results and ``masked`` use their rows among all items.

        ``compiled``: use compiled loops if that is faster.
        """
        if sparse is not None and not sparse.has_any().any():
            sparse = None
        masked = None if masked is None else self._within(masked)
        self._searches += 1
        self._users += len(users)
        if sparse is None and len(self.rows) >= LAID_OUT_ITEMS and self._searches > SEARCHES_BEFORE:
            own = self._laid_out(compiled=compiled and self._users >= COMPILED_USERS)
            found, scores = own.search(users, k, masked=masked)
            return np.where(found >= 0, self.rows[found], -1).astype(np.int32), scores
        rows = np.full((len(users), k), -1, dtype=np.int32)
        scores = np.full((len(users), k), -np.inf, dtype=np.float32)
        width = min(k, len(self.rows))
        step = max(1, SCORES_AT_ONCE // max(1, len(self.rows) if sparse is None else self._exact.n_items))
        for start in range(0, len(users) if width else 0, step):
            part = np.arange(start, min(start + step, len(users)))
            keys = self._best_keys(
                np.asarray(users[part], dtype=np.float32),
                width,
                None if masked is None else masked.take(part),
                None if sparse is None else sparse.of(part).sums()[:, self.rows],
            )
            rows[part, :width], scores[part, :width] = unpack(keys)
        return rows, scores

    def _laid_out(self, *, compiled: bool) -> TopK:
        own = self._own or TopK(
            self._vectors, self._biases, offset=self._layout["offset"], typical_norm=self._layout["typical_norm"]
        )
        if compiled and not self._compiled:
            own.compile()
            self._compiled = True
        self._own = own
        return own

    def _best_keys(
        self, users: Float32Array, k: int, masked: MaskedRows | None, added: Float64Array | None
    ) -> Int64Array:
        """Packed (score, row among all) of the ``k`` best, int64 [U, k], best first; EMPTY if there are fewer."""
        margin = self._exact.margin(users, None if added is None else added.max(axis=1, initial=0.0))
        plain = np.isfinite(margin)
        with np.errstate(over="ignore", invalid="ignore"):
            scores = users @ self._vectors.T + self._biases
            if added is not None:
                scores += added.astype(np.float32)
        # Where float32 may overflow, all items are candidates.
        scores[~plain], margin[~plain] = 0.0, 0.0
        if masked is not None and len(masked.rows):
            owners, forbidden = masked.part(0, len(users))
            scores[owners, forbidden] = -np.inf
        found = above(scores, k, margin, limit=len(self.rows))
        wide = np.full((len(users), max(k, int(found.counts.max(initial=0)))), EMPTY)
        more = None if added is None else added[found.users, found.columns]
        rows = self.rows[found.columns]
        wide[found.users, found.places] = pack(self._scores.of(users[found.users], rows, more), rows)
        return np.sort(wide, axis=1)[:, ::-1][:, :k]

    def _within(self, masked: MaskedRows) -> MaskedRows:
        """``masked`` by place among these items, without others."""
        if not len(masked.rows) or not len(self.rows):
            return MaskedRows(np.zeros_like(masked.indptr), masked.rows[:0])
        places = np.minimum(np.searchsorted(self.rows, masked.rows), len(self.rows) - 1)
        there = self.rows[places] == masked.rows
        before = np.concatenate([[0], np.cumsum(there)])
        return MaskedRows(before[masked.indptr].astype(np.int64), places[there].astype(np.int32))
