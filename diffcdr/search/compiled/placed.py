"""A table of neighbours in the order in which the compiled search visits items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffcdr.arrays import Float32Array, Float64Array, Int32Array, Int64Array
from diffcdr.search.sparse_part import Histories, Neighbours


@dataclass(frozen=True, slots=True)
class PlacedNeighbours:
    """S with each row's target items by place, rising: eight bytes an entry, held in memory.

    ``neighbours``: what it was made of. ``places`` int32 and ``values`` float32, [R, 2] both, are two views of the same
    entries: of a place and its value, side by side. ``largest`` float32 [m]: of each row of S, 0 of an empty one.
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
        # One sort of whole numbers, with the entry in the low half, would need more bits than there are.
        order = np.argsort((owners << 32) | places[neighbours.items])
        entries[:, 0] = places[neighbours.items[order]]
        values[:, 1] = neighbours.values[order]
        largest = np.zeros(len(indptr) - 1, dtype=np.float32)
        filled = np.diff(indptr) > 0
        largest[filled] = np.maximum.reduceat(neighbours.values, indptr[:-1][filled]) if filled.any() else 0.0
        return cls(neighbours, entries, values, largest)

    def reach(self, histories: Histories, weights: Float32Array) -> Float64Array:
        """No sparse sum of a user is above this, but for rounding, [U]."""
        counts = histories.counts()
        owners = np.repeat(np.arange(len(counts)), counts)
        most = weights.astype(np.float64) * self.largest[histories.rows]
        return np.bincount(owners, most, minlength=len(counts)).astype(np.float64)
