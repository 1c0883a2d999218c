"""The top-k search of :mod:`diffcdr.search.topk` as compiled loops (extra ``fast``: numba), for many users.

NumPy makes several passes over arrays of scores. These loops do all steps while the scores of a tile are in the L1
cache: the product with two users at once (so that each item is loaded once for both), the comparison with each user's
bound, and the collection of the few candidates that pass. The bound is the k-th best score so far, kept in a heap,
minus three margins. It only rises, so an item below it never has to be considered again. A user is finished when no
later tile can reach the bound (Cauchy and Schwarz). Products of wide vectors use BLAS, which keeps more of them in
registers.

The result equals that of the NumPy search to the last bit: both order the candidates by exact scores, summed in the
same order in float64.
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
"""Width above which BLAS computes the products."""
ALONE = 3
"""Up to this many users with a sparse part, a shared product does not pay."""


@dataclass(frozen=True, slots=True)
class PlacedPart:
    """The sparse part of some users' scores. ``weights`` float32 [R]: one per entry of ``histories``."""

    table: PlacedNeighbours
    histories: Histories
    weights: Float32Array

    def reach(self) -> Float64Array:
        """Upper bound on each user's sparse sums, up to rounding, [U]."""
        return self.table.reach(self.histories, self.weights)


class CompiledScan:
    """The items in the layout of the kernels."""

    def __init__(self, vectors: Float32Array, biases: Float32Array, *, offset: float, typical_norm: float) -> None:
        """Lay out ``vectors`` [n, dim] with ``biases`` [n]; see :class:`diffcdr.search.topk.TopK`."""
        self._layout = ItemLayout(vectors, biases, typical_norm=typical_norm, tile_items=TILE_ITEMS)
        self._vectors, self._biases, self._offset = np.ascontiguousarray(vectors), np.ascontiguousarray(biases), offset
        self._width = -(-(vectors.shape[1] + 1) // LANES) * LANES
        by_tile = self._layout.padded(vectors, biases, width=self._width).reshape(-1, TILE_ITEMS, self._width)
        self._columns = np.ascontiguousarray(by_tile.transpose(0, 2, 1))
        self._placed: PlacedNeighbours | None = None

    def place(self, neighbours: Neighbours) -> None:
        """Lay out ``neighbours`` too; only sparse parts of this table can then be searched."""
        self._placed = PlacedNeighbours.of(neighbours, self._layout.places)

    def knows(self, sparse: SparsePart) -> bool:
        """Whether the table of ``sparse`` is the one laid out."""
        return self._placed is not None and self._placed.neighbours is sparse.neighbours

    def placed(self, sparse: SparsePart) -> PlacedPart:
        """``sparse``, which must be of the table laid out, in the form that the search needs."""
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
        """Candidates that include the ``k`` best items of each of ``users`` [U, dim].

        ``pairs``: masked (user, item place); ``part``: the sparse part of these users. Returns item rows int64 and
        exact scores float32, both [U, W], and the number of valid ones for each user, [U]: -1 if there are too many
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
        """Exact scores float32 [U, C] of item ``rows`` [U, C] for ``users`` [U, dim]; -inf if a row is negative."""
        scores = np.empty(rows.shape, dtype=np.float32)
        score_candidates(self._vectors, self._biases, self._offset, users, rows, scores)
        return scores


def _by_user(pairs: Pairs | None, users: int) -> Masks:
    starts = np.zeros(users + 1, dtype=np.int64)
    if pairs is None:
        return starts, starts[:0], starts[:-1].copy()
    owners, places = pairs
    np.cumsum(np.bincount(owners, minlength=users), out=starts[1:])
    # Sorting single integers is several times faster than sorting by two keys.
    keys = np.sort((owners.astype(np.int64) << 32) | places)
    return starts, keys & 0xFFFFFFFF, starts[:-1].copy()


def _scan_wide(
    columns: Float32Array, users: Float32Array, bounds: Bounds, masks: Masks, heaps: Float32Array, found: Found
) -> None:
    """Like :func:`scan_narrow`, with the products of all users with a tile at once."""
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
    """Like :func:`scan_narrow` and :func:`_scan_wide`, with a sparse part."""
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
            # For users whose sparse part alone decides, products are computed only where needed.
            active = still_active(active, tile, bounds, best[0], best[1])
            slots[:] = -1
            slots[active] = np.arange(len(active))
            np.matmul(users[active], columns[tile:last], out=made[: last - tile, : len(active)])
        scan_added((tile, last), columns, users, (made, slots), bounds, masks, best, added)
