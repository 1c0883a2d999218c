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

from dataclasses import dataclass

import numpy as np

from diffcdr.arrays import Float32Array, Float64Array, Int64Array
from diffcdr.search.compiled.exact_kernels import score_candidates, score_exactly
from diffcdr.search.compiled.kernel_types import Best, Bounds, Found, Masks
from diffcdr.search.compiled.kernels import (
    ADDED_TILES,
    LANES,
    TILE_ITEMS,
    finish,
    scan_added,
    scan_narrow,
    sift,
    still_active,
)
from diffcdr.search.compiled.placed import PlacedNeighbours
from diffcdr.search.item_order import ItemLayout, Pairs
from diffcdr.search.sparse_part import Histories, Neighbours, SparsePart

WIDE = 32
"""Dimensions above which the products are BLAS's."""
ALONE = 3
"""So many users, and fewer, with a sparse part have no product to share."""


@dataclass(frozen=True, slots=True)
class PlacedPart:
    """The sparse part of some users' scores. ``weights`` float32 [R]: of the entries of ``histories``."""

    table: PlacedNeighbours
    histories: Histories
    weights: Float32Array

    def reach(self) -> Float64Array:
        """No sparse sum of a user is above this, but for rounding, [U]."""
        return self.table.reach(self.histories, self.weights)


class CompiledScan:
    """Items as the kernels read them."""

    def __init__(self, vectors: Float32Array, biases: Float32Array, *, offset: float, typical_norm: float) -> None:
        """Lay out ``vectors`` [n, dim] with ``biases`` [n]; see :class:`diffcdr.search.topk.TopK`."""
        self._layout = ItemLayout(vectors, biases, typical_norm=typical_norm, tile_items=TILE_ITEMS)
        self._vectors, self._biases, self._offset = np.ascontiguousarray(vectors), np.ascontiguousarray(biases), offset
        self._width = -(-(vectors.shape[1] + 1) // LANES) * LANES
        by_tile = self._layout.padded(vectors, biases, width=self._width).reshape(-1, TILE_ITEMS, self._width)
        self._columns = np.ascontiguousarray(by_tile.transpose(0, 2, 1))
        self._placed: PlacedNeighbours | None = None

    def place(self, neighbours: Neighbours) -> None:
        """Lay out ``neighbours`` too: only sparse parts of this very table can be searched for."""
        self._placed = PlacedNeighbours.of(neighbours, self._layout.places)

    def knows(self, sparse: SparsePart) -> bool:
        """Whether the table of ``sparse`` is the one laid out."""
        return self._placed is not None and self._placed.neighbours is sparse.neighbours

    def placed(self, sparse: SparsePart) -> PlacedPart:
        """``sparse``, of the table that is laid out, as it is searched for."""
        assert self._placed is not None
        return PlacedPart(self._placed, sparse.histories, sparse.neighbours.weights(sparse.histories))

    def best(
        self,
        users: Float32Array,
        k: int,
        margin: Float64Array,
        pairs: Pairs | None,
        *,
        part: PlacedPart | None = None,
    ) -> tuple[Int64Array, Float32Array, Int64Array]:
        """What can be among the ``k`` best of each of ``users`` [U, dim], and so all that is.

        ``pairs``: (user, item place) that must not be; ``part``: of these users. Returns item rows int64 and their
        exact scores float32, [U, W] both, and how many of them count for each user, [U]: -1 where they are too many,
        or ``margin`` is infinite.
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
        bounds = (self._layout.reach, self._layout.tail_norm), chords, slack
        masks = _by_user(pairs, len(users))
        sums = None
        if part is not None:
            sums = np.empty((len(users), capacity), dtype=np.float64)
            _scan_added(self._columns, extended, bounds, masks, (heaps, found, sums), part)
        else:
            scan = scan_narrow if self._width <= WIDE else _scan_wide
            scan(self._columns, extended, bounds, masks, heaps, found)
        width = max(1, finish(slack, heaps, found, sums))
        rows, scores, counts = found
        score_exactly(self._layout.rows, self._vectors, self._biases, self._offset, users, found, width, sums)
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
    columns: Float32Array, users: Float32Array, bounds: Bounds, masks: Masks, heaps: Float32Array, found: Found
) -> None:
    """As :func:`scan_narrow`, all users' products with a tile at once."""
    active = np.arange(len(users))
    needing = users
    scores = np.empty((len(users), TILE_ITEMS), dtype=np.float32)
    for tile in range(len(columns)):
        still = still_active(active, tile, bounds, heaps, found)
        if len(still) < len(active):
            needing = users[still]
        active = still
        if not len(active):
            break
        np.matmul(needing, columns[tile], out=scores[: len(active)])
        sift(scores, active, tile, bounds[2], masks, heaps, found)


def _scan_added(
    columns: Float32Array, users: Float32Array, bounds: Bounds, masks: Masks, best: Best, part: PlacedPart
) -> None:
    """As :func:`scan_narrow` and :func:`_scan_wide`, with a sparse part."""
    neighbours = part.table.neighbours
    rows = part.histories.rows.astype(np.int64)
    history = part.histories.indptr, part.weights, neighbours.indptr[rows], neighbours.indptr[rows + 1]
    added = history, (part.table.places, part.table.values)
    wide = users.shape[1] > WIDE and len(users) > ALONE
    slots = np.full(len(users), -1)
    active = np.arange(len(users)) if wide else slots[:0]
    step = ADDED_TILES if wide else len(columns)
    made = np.empty((step if wide else 0, len(users), TILE_ITEMS), dtype=np.float32)
    for tile in range(0, len(columns), step):
        last = min(tile + step, len(columns))
        if len(active):
            # For whom the sparse part alone decides, products are made where it does.
            active = still_active(active, tile, bounds, best[0], best[1])
            slots[:] = -1
            slots[active] = np.arange(len(active))
            np.matmul(users[active], columns[tile:last], out=made[: last - tile, : len(active)])
        scan_added((tile, last), columns, users, (made, slots), bounds, masks, best, added)
