"""Exact top-k over all items, in two stages, on NumPy alone.

The score of item j for user vector u is ``float32(sum_d v_jd u_d + bias_j + offset)``, accumulated in float64 in the
order d = 0, 1, … and then bias, offset; items are ordered by score, descending, then by row, ascending. This
definition involves no batch, so results agree to the last bit whatever the batch's size, members or order.

Scoring everything that way would be slow. Instead a float32 matrix product gives approximate scores, each within
``margin(u)`` of the exact one (the standard bound on a float32 dot product), and only their maxima over blocks of 32
items are kept, while the scores are still in cache. The k-th largest maximum bounds the k-th best score from below,
so whatever can be among the k best lies in the few blocks above that bound. These are scored again, thinned by the
same argument item by item, and what is left (k items and a few) gets its exact score. Items whose vectors are too
short to reach the bound (Cauchy and Schwarz) are not looked at. Users for whom too much is left (large ties, values
near the float32 range) are scored exactly throughout.

Where numba is installed (extra ``fast``) and many users are asked for, :mod:`diffcdr.search.compiled.scan` does all
but the last of this in one loop; what it leaves out and what an item's score is follows the same rules, so the answers
are the same.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from diffcdr.arrays import Float32Array, Float64Array, Int32Array, Int64Array
from diffcdr.search.candidates import EMPTY, Ragged, above, pack, unpack
from diffcdr.search.exact_scores import ExactScores, best_of
from diffcdr.search.item_order import Pairs
from diffcdr.search.row_lists import RowLists
from diffcdr.search.sparse_part import Histories, Neighbours, SparsePart
from diffcdr.search.tiles import USER_CHUNK, Added, ItemTiles

if TYPE_CHECKING:
    from diffcdr.search.compiled.scan import CompiledScan


FEW_USERS = 4
COMPILED_K = 1_024
"""Above it, the compiled loops' lists of candidates would no longer be small."""
COMPILED_CHUNK = 512
"""Users that the compiled loops process at a time: a tenth faster than 256; 1,024 are hardly faster."""
ADDED_CHUNK = 32
"""Users with a sparse part at a time: their addends take twelve bytes per user and item."""
PLACED_CHUNK = 128
"""The same for compiled loops, which keep the addends of one user at a time."""


class MaskedRows(RowLists):
    """Item rows that each user of a batch must not get; repeats allowed."""

    __slots__ = ()

    def part(self, start: int, stop: int) -> tuple[Int64Array, Int32Array]:
        """(user, counted from ``start``; item row) of every pair of users ``start`` to ``stop``."""
        counts = np.diff(self.indptr[start : stop + 1])
        return np.repeat(np.arange(stop - start), counts), self.rows[self.indptr[start] : self.indptr[stop]]


class TopK:
    """The k best items of many users. Safe to share between threads: no call changes its results."""

    prefixes = True
    """A shorter list is the beginning of a longer one."""
    device = "cpu"
    """Where it runs."""

    def __init__(
        self,
        vectors: Float32Array,
        biases: Float32Array,
        *,
        offset: float = 0.0,
        typical_norm: float = 1.0,
    ) -> None:
        """Lay out the items.

        Args:
            vectors: float32 [n, dim], finite.
            biases: float32 [n], finite.
            offset: added to every score.
            typical_norm: about how long the user vectors will be, above 0. Decides the order in which items are
                looked at, so how fast an answer is, never what it is.
        """
        self.n_items, self.dim = vectors.shape
        self._offset = float(offset)
        self._vectors = vectors
        self._biases = biases
        self._scores = ExactScores(vectors, biases, offset=self._offset)
        self._tiles = ItemTiles(vectors, biases, typical_norm=typical_norm)
        self._layout = self._tiles.layout
        self._typical_norm = typical_norm
        self._compiled: CompiledScan | None = None
        self._largest = np.abs(vectors).max(axis=0, initial=0.0).astype(np.float64)
        self._constant = float(np.abs(biases).max(initial=0.0)) + abs(self._offset)

    def compile(self, neighbours: Neighbours | None = None) -> None:
        """If numba is installed, search with compiled loops from now on, with the same results.

        They serve more than one user, or one user with a sparse part of ``neighbours``. They are loaded (half a second)
        or compiled here, so no later search waits. Worthwhile from some ten thousand users on.
        """
        if not self.dim or find_spec("numba") is None:
            return
        from diffcdr.search.compiled.scan import CompiledScan  # noqa: PLC0415 - numba takes a while to load, and is optional

        scan = CompiledScan(self._vectors, self._biases, offset=self._offset, typical_norm=self._typical_norm)
        some, k = np.array(self._vectors[:2]), min(20, self.n_items)
        for pairs in (None, (np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))) if k else ():
            scan.best(some, k, self.margin(some), pairs)
        scan.exact(some, np.full((len(some), 1), -1))
        if neighbours is not None and k:
            scan.place(neighbours)
            nobody = SparsePart(neighbours, Histories.pack([np.empty(0, dtype=np.int32)] * len(some)))
            scan.best(some, k, self.margin(some), None, part=scan.placed(nobody))
        self._compiled = scan

    def search(
        self, users: Float32Array, k: int, *, masked: MaskedRows | None = None, sparse: SparsePart | None = None
    ) -> tuple[Int32Array, Float32Array]:
        """The ``k`` best items of each user.

        Args:
            users: float32 [B, dim], finite.
            k: at least 1.
            masked: item rows that each user must not get.
            sparse: what the users' histories add to the scores.

        Returns:
            (item rows int32 [B, k], scores float32 [B, k]), best first; -1 and -inf where fewer than ``k`` are left.
        """
        rows = np.full((len(users), k), -1, dtype=np.int32)
        scores = np.full((len(users), k), -np.inf, dtype=np.float32)
        width = min(k, self.n_items)
        if sparse is not None and not sparse.has_any().any():
            sparse = None
        compiled = self._is_compiled(width, sparse)
        if sparse is None:
            step = COMPILED_CHUNK if compiled else USER_CHUNK
        else:
            step = PLACED_CHUNK if compiled else ADDED_CHUNK
        for start in range(0, len(users) if width else 0, step):
            chunk = np.asarray(users[start : start + step], dtype=np.float32)
            stop = start + len(chunk)
            pairs = None
            if masked is not None and len(masked.rows):
                owners, forbidden = masked.part(start, stop)
                pairs = owners, self._layout.places[forbidden]
            part = sparse
            if sparse is not None and len(chunk) < len(users):
                part = sparse.of(np.arange(start, stop))
            if compiled and (part is not None or len(chunk) > 1):
                keys = self._compiled_keys(chunk, width, pairs, part)
            else:
                added = None if part is None else Added.of(part, self._layout)
                way = self._few_keys if len(chunk) <= (1 if compiled else FEW_USERS) else self._best_keys
                keys = way(chunk, width, pairs, added)
            rows[start:stop, :width], scores[start:stop, :width] = unpack(keys)
        return rows, scores

    def score(self, user: Float32Array, rows: npt.NDArray[np.integer[Any]]) -> Float32Array:
        """Exact scores float32 [len(rows)] of item ``rows`` for one user vector float32 [dim]."""
        return self._scores.of(np.asarray(user, dtype=np.float32)[None], rows)

    def margin(self, users: Float32Array, added: Float64Array | None = None) -> Float64Array:
        """Largest error of a float32 score of each of ``users`` [U, dim], float64 [U]; inf where float32 may overflow.

        A dot product of n float32 terms, in any order, fused or not, errs by at most about n 2^-24 times the sum of
        the terms' sizes (Higham, Accuracy and Stability, sec. 3.1); three more roundings cover the rest,
        and two what is added, of which ``added`` [U] is the most.
        """
        size, roundings = np.abs(users.astype(np.float64)) @ self._largest + self._constant, self.dim + 4
        if added is not None:
            size, roundings = size + added, roundings + 2
        margin = roundings * 2.0**-24 * 1.01 * size + 1e-30
        return np.where(size < 1e37, margin, np.inf)

    def ranked_keys(self, users: Float32Array, rows: npt.NDArray[np.integer[Any]]) -> Int64Array:
        """Packed exact (score, row) of candidate item ``rows`` [U, C] (-1 for none), int64 [U, C], best first."""
        if self._compiled is not None:
            wide = np.ascontiguousarray(rows, dtype=np.int64)
            scores = self._compiled.exact(np.ascontiguousarray(users, dtype=np.float32), wide)
            keys = np.where(wide >= 0, pack(scores, wide), EMPTY)
            keys.sort(axis=1)
            return keys[:, ::-1]
        owners, columns = np.nonzero(rows >= 0)
        taken = rows[owners, columns].astype(np.int64)
        keys = np.full(rows.shape, EMPTY)
        keys[owners, columns] = pack(self._scores.of(users[owners], taken), taken)
        return np.sort(keys, axis=1)[:, ::-1]

    def _is_compiled(self, k: int, sparse: SparsePart | None) -> bool:
        scan = self._compiled
        return scan is not None and k <= COMPILED_K and (sparse is None or scan.knows(sparse))

    def _compiled_keys(self, users: Float32Array, k: int, pairs: Pairs | None, sparse: SparsePart | None) -> Int64Array:
        """Like :meth:`_best_keys`, with compiled loops."""
        assert self._compiled is not None
        part = None if sparse is None else self._compiled.placed(sparse)
        margin = self.margin(users, None if part is None else part.reach())
        rows, scores, counts = self._compiled.best(users, k, margin, pairs, part=part)
        keys = pack(scores, rows)
        keys[np.arange(keys.shape[1]) >= counts[:, None]] = EMPTY
        best = np.full((len(users), k), EMPTY)
        width = min(k, keys.shape[1])
        best[:, :width] = np.sort(keys, axis=1)[:, ::-1][:, :width]
        left = np.flatnonzero(counts < 0)
        added = None if sparse is None or not len(left) else Added.of(sparse, self._layout)
        self._search_exhaustively(best, left, users, pairs, added)
        return best

    def _best_keys(self, users: Float32Array, k: int, pairs: Pairs | None, added: Added | None = None) -> Int64Array:
        """Packed (score, row) of the ``k`` best items, int64 [U, k], best first; EMPTY if there are fewer.

        ``pairs``: masked (user, item place), in any number and order.
        """
        extended = np.concatenate([users, np.ones((len(users), 1), dtype=np.float32)], axis=1)
        margin = self.margin(users, None if added is None else added.reach[:, 0])
        plain = np.isfinite(margin)
        extended[~plain, :-1] = 0.0
        maxima = self._tiles.block_maxima(extended, k, margin, pairs, added=added)
        candidates = above(maxima, k, margin, limit=2 * k + 16)
        plain &= candidates.counts >= 0
        blocks = candidates.padded(fill=self._tiles.empty_block)
        approximate, places = self._tiles.approximate(extended, blocks, pairs, added=added)
        finalists = above(approximate, k, margin, limit=4 * k + 64)
        plain &= finalists.counts >= 0
        keys = self._exact_keys(users, finalists, places, added)
        best = np.full((len(users), k), EMPTY)
        width = min(k, keys.shape[1])
        best[:, :width] = np.sort(keys, axis=1)[:, ::-1][:, :width]
        self._search_exhaustively(best, np.flatnonzero(~plain), users, pairs, added)
        return best

    def _few_keys(self, users: Float32Array, k: int, pairs: Pairs | None, added: Added | None = None) -> Int64Array:
        """Like :meth:`_best_keys`, one user after the other, which needs less setup."""
        best = np.full((len(users), k), EMPTY)
        for user, margin in enumerate(self.margin(users, None if added is None else added.reach[:, 0]).tolist()):
            barred = pairs[1][pairs[0] == user] if pairs is not None else None
            mine = None if added is None else added.one(user)
            places = None
            if margin < np.inf:
                extended = np.append(users[user], np.float32(1.0))
                places = self._tiles.near_best(extended, k, margin, barred, limit=4 * k + 256, added=mine)
            if places is None:
                forbidden = self._layout.rows[barred] if barred is not None else None
                best[user] = best_of(self._all_keys(users[user], mine), k, forbidden)
                continue
            rows = self._layout.rows[places]
            more = None if mine is None else mine.sums[0, places]
            keys = np.sort(pack(self._scores.of(users[user : user + 1], rows, more), rows))[::-1][:k]
            best[user, : len(keys)] = keys
        return best

    def _exact_keys(
        self, users: Float32Array, finalists: Ragged, places: Int64Array, added: Added | None
    ) -> Int64Array:
        """Packed exact scores of the finalists (columns of ``places``), int64 [U, W], padded with EMPTY."""
        chosen = places[finalists.users, finalists.columns]
        rows = self._layout.rows[chosen]
        more = None if added is None else added.sums[finalists.users, chosen]
        keys = np.full((len(users), max(1, int(finalists.counts.max(initial=0)))), EMPTY)
        keys[finalists.users, finalists.places] = pack(self._scores.of(users[finalists.users], rows, more), rows)
        return keys

    def _search_exhaustively(
        self,
        best: Int64Array,
        chosen: Int64Array,
        users: Float32Array,
        pairs: Pairs | None,
        added: Added | None = None,
    ) -> None:
        """Fill in the ``best`` keys [U, k] of the ``chosen`` of ``users``, for whom the fast search does not apply."""
        if not len(chosen):
            return
        # With a model that gives everyone the same list, all users come here with one vector.
        vectors, which = np.unique(users[chosen], axis=0, return_inverse=True)
        for number, vector in enumerate(vectors):
            alike = chosen[which == number].tolist()
            keys = self._all_keys(vector) if added is None else None
            for user in alike:
                own = keys.copy() if keys is not None else self._all_keys(vector, added and added.one(user))
                forbidden = self._layout.rows[pairs[1][pairs[0] == user]] if pairs is not None else None
                best[user] = best_of(own, best.shape[1], forbidden)

    def _all_keys(self, user: Float32Array, added: Added | None = None) -> Int64Array:
        return self._scores.keys(user, None if added is None else added.sums[0, self._layout.places])


def typical_norm(vectors: Float32Array) -> float:
    """Median length of ``vectors`` [n, dim]; 1 if there are none, or all are zero."""
    return (float(np.median(np.linalg.norm(vectors.astype(np.float64), axis=1))) if len(vectors) else 0.0) or 1.0
