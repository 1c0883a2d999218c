"""A table of neighbours in the order in which the compiled search visits items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffcdr.arrays import Float32Array, Float64Array, Int32Array, Int64Array
from diffcdr.search.sparse_part import Histories, Neighbours


@dataclass(frozen=True, slots=True)
class PlacedNeighbours:
    """S with each row's target items by place, ascending: eight bytes per entry, in memory.

    ``neighbours``: the original table. ``places`` int32 and ``values`` float32, both [R, 2], are two views of the same
    entries, pairs of a place and its value. ``largest`` float32 [m]: largest value of each row of S, 0 if it is empty.
    """

    neighbours: Neighbours
    places: Int32Array
    values: Float32Array
    largest: Float32Array

    @classmethod
    def of(cls, neighbours: Neighbours, places: Int64Array) -> PlacedNeighbours:
        """``places`` [n_items] of the target items."""
        indptr = neighbours.indptr
        entries = np.empty((len(neighbours.items), 2), dtype=np.int32)
        values = entries.view(np.float32)
        owners = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        # Sorting single integers that also contain the entry would need more than 64 bits.
        order = np.argsort((owners << 32) | places[neighbours.items])
        entries[:, 0] = places[neighbours.items[order]]
        values[:, 1] = neighbours.values[order]
        largest = np.zeros(len(indptr) - 1, dtype=np.float32)
        filled = np.diff(indptr) > 0
        largest[filled] = np.maximum.reduceat(neighbours.values, indptr[:-1][filled]) if filled.any() else 0.0
        return cls(neighbours, entries, values, largest)

    def reach(self, histories: Histories, weights: Float32Array) -> Float64Array:
        """Upper bound on each user's sparse sums, up to rounding, [U]."""
        counts = histories.counts()
        owners = np.repeat(np.arange(len(counts)), counts)
        most = weights.astype(np.float64) * self.largest[histories.rows]
        return np.bincount(owners, most, minlength=len(counts)).astype(np.float64)
