"""The top-k search of :mod:`diffcdr.search.topk` as compiled loops (extra ``fast``: numba), for many users.

What NumPy does in passes over arrays of scores happens here while the scores of a tile lie in the innermost cache:
its product with two users at once (so that an item is loaded once for both), the comparison with each user's bound,
and the few that pass. The bound is the k-th best score so far less three margins, held in a heap; it only rises, so
what it leaves out is left out for good. A user is done where no later tile reaches the bound (Cauchy and Schwarz).
The products of wide vectors are left to BLAS, which keeps more of them in registers.

The result is that of the NumPy way to the last bit: both leave the order to exact scores of what may be among the k
best, and those are added up here in the same order, in float64.
"""

from __future__ import annotations

import numpy as np

from diffcdr.arrays import Float32Array, Float64Array, Int64Array
from diffcdr.search.item_order import ItemLayout, Pairs
from diffcdr.search.kernels import (
    LANES,
    TILE_ITEMS,
    Chords,
    Found,
    Masks,
    finish,
    scan_narrow,
    score_candidates,
    score_exactly,
    sift,
    still_active,
)

WIDE = 32
"""Dimensions above which the products are BLAS's."""


class CompiledScan:
    """Items as the kernels read them."""

    def __init__(self, vectors: Float32Array, biases: Float32Array, *, offset: float, typical_norm: float) -> None:
        """Lay out ``vectors`` [n, dim] with ``biases`` [n]; see :class:`diffcdr.search.topk.TopK`."""
        self._layout = ItemLayout(vectors, biases, typical_norm=typical_norm, tile_items=TILE_ITEMS)
        self._vectors, self._biases, self._offset = np.ascontiguousarray(vectors), np.ascontiguousarray(biases), offset
        self._width = -(-(vectors.shape[1] + 1) // LANES) * LANES
        by_tile = self._layout.padded(vectors, biases, width=self._width).reshape(-1, TILE_ITEMS, self._width)
        self._columns = np.ascontiguousarray(by_tile.transpose(0, 2, 1))

    def best(
        self, users: Float32Array, k: int, margin: Float64Array, pairs: Pairs | None
    ) -> tuple[Int64Array, Float32Array, Int64Array]:
        """What can be among the ``k`` best of each of ``users`` [U, dim], and so all that is.

        ``pairs``: (user, item place) that must not be. Returns item rows int64 and their exact scores float32, [U, W]
        both, and how many of them count for each user, [U]: -1 where they are too many, or ``margin`` is infinite.
        """
        dim = users.shape[1]
        plain = np.isfinite(margin)
        extended = np.zeros((len(users), self._width), dtype=np.float32)
        extended[plain, :dim] = users[plain]
        chords = self._layout.chords(np.linalg.norm(extended[:, :dim].astype(np.float64), axis=1))
        extended[:, dim] = 1.0
        capacity = 4 * k + 256
        found = (
            np.empty((len(users), capacity), dtype=np.int64),
            np.empty((len(users), capacity), dtype=np.float32),
            np.where(plain, 0, -1),
        )
        heaps = np.full((len(users), k), -np.inf, dtype=np.float32)
        slack = np.where(plain, 3 * margin, 0.0)
        reach = (self._layout.reach, self._layout.tail_norm)
        scan = scan_narrow if self._width <= WIDE else _scan_wide
        scan(self._columns, extended, reach, chords, slack, _by_user(pairs, len(users)), heaps, found)
        width = max(1, finish(slack, heaps, found))
        rows, scores, counts = found
        score_exactly(self._layout.rows, self._vectors, self._biases, self._offset, users, found, width)
        return rows[:, :width], scores[:, :width], counts

    def exact(self, users: Float32Array, rows: Int64Array) -> Float32Array:
        """Exact scores float32 [U, C] of item ``rows`` [U, C] for ``users`` [U, dim]; -inf where a row is negative."""
        scores = np.empty(rows.shape, dtype=np.float32)
        score_candidates(self._vectors, self._biases, self._offset, users, rows, scores)
        return scores


def _by_user(pairs: Pairs | None, users: int) -> Masks:
    starts = np.zeros(users + 1, dtype=np.int64)
    if pairs is None:
        return starts, starts[:0], starts[:-1].copy()
    owners, places = pairs
    np.cumsum(np.bincount(owners, minlength=users), out=starts[1:])
    # One sort of whole numbers: several times faster than by two keys.
    keys = np.sort((owners.astype(np.int64) << 32) | places)
    return starts, keys & 0xFFFFFFFF, starts[:-1].copy()


def _scan_wide(
    columns: Float32Array,
    users: Float32Array,
    reach: tuple[Float64Array, Float64Array],
    chords: Chords,
    slack: Float64Array,
    masks: Masks,
    heaps: Float32Array,
    found: Found,
) -> None:
    """As :func:`scan_narrow`, all users' products with a tile at once."""
    active = np.arange(len(users))
    needing = users
    scores = np.empty((len(users), TILE_ITEMS), dtype=np.float32)
    for tile in range(len(columns)):
        still = still_active(active, tile, reach, chords, slack, heaps, found)
        if len(still) < len(active):
            needing = users[still]
        active = still
        if not len(active):
            break
        np.matmul(needing, columns[tile], out=scores[: len(active)])
        sift(scores, active, tile, slack, masks, heaps, found)
