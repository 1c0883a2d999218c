"""Sparse regressions of target items on their nearest items: the coefficients of SLIM with feature selection.

Of each target item j with its column a_j of the binary histories A [O, f], and the features F_j whose columns have the
largest cosine with a_j (Ning and Karypis 2011):

    w_j = argmin_w  1/2 |a_j - A_F w|^2 + l2 / 2 |w|^2 + l1 |w|_1        w >= 0

Coordinate descent on Gram matrices, which are counts of users: sparse products of integers and elementwise steps, so
that the result is the same to the bit on every processor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from diffcdr.arrays import Float64Array
from training.models.co_occurrence import CoOccurrences, keep_largest

Features = Literal["source", "both"]
"""What a target item is regressed on: source items, or the items of both domains but itself."""
ITEMS_AT_ONCE = 256
MOST_SWEEPS = 200
TOLERANCE = 1e-4
"""Of the largest change of a coefficient in one sweep, which ends an item's descent."""


@dataclass(frozen=True)
class Regressions:
    """Binary ``columns`` CSC [O, m + n] of both domains, and the features of target item j: row j of ``features``.

    ``features``: CSR [n, f], f = m of source items alone, m + n of both.
    ``targets`` int64 [n]: the column of each target item.
    """

    columns: sparse.csc_array
    features: sparse.csr_array
    targets: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls, source: sparse.csr_array, target: sparse.csr_array, *, features: Features, neighbours: int
    ) -> Regressions:
        """Select features of ``source`` [O, m] and ``target`` [O, n], binary in float64; of equals the first."""
        items, others = source.shape[1], target.shape[1]
        both = sparse.csr_array(sparse.hstack([source, target]))
        counted = CoOccurrences.of(source if features == "source" else both, target, "cosine")
        targets = items + np.arange(others)
        near = sparse.coo_array(counted.table)
        other = near.col != targets[near.row]
        shared = (near.data[other], (near.row[other], near.col[other]))
        # Of one target item, its own length changes nothing of which features are nearest.
        scale = sparse.diags_array(1.0 / np.sqrt(np.maximum(counted.source, 1.0)))
        alike = sparse.csr_array(sparse.csr_array(shared, shape=counted.table.shape) @ scale)
        return cls(sparse.csc_array(both), keep_largest(alike, neighbours), targets)

    def solve(self, *, l1: float, l2: float) -> sparse.csr_array:
        """The coefficients, float64 [f, n], above 0; f counts the source items, or those of both domains."""
        starts, selected = self.features.indptr, self.features.indices
        found = np.zeros(len(selected))
        for first in range(0, len(self.targets), ITEMS_AT_ONCE):
            items = range(first, min(first + ITEMS_AT_ONCE, len(self.targets)))
            grams = self._grams(items)
            weights = descend(grams[:-1, :, :-1], grams[-1, :, :-1], l1=l1, l2=l2)
            for place, item in enumerate(items):
                own = slice(starts[item], starts[item + 1])
                found[own] = weights[place, : own.stop - own.start]
        # A copy: without its zeros, the table would take the features away from the next penalties.
        table = sparse.csr_array((found, selected, starts), shape=self.features.shape, copy=True)
        table.eliminate_zeros()
        return sparse.csr_array(table.T)

    def table(self, *, l1: float, l2: float) -> sparse.csr_array:
        """The same in float32, as a sparse term needs it: what is no float32 above 0 is left out."""
        found = self.solve(l1=l1, l2=l2).astype(np.float32)
        found.eliminate_zeros()
        return found

    def _grams(self, items: range) -> Float64Array:
        """[K + 1, items, K + 1]: users in common of each two of an item's features; the last is the item itself."""
        starts = self.features.indptr
        widths = np.diff(starts)[items.start : items.stop]
        grams = np.zeros((int(widths.max()) + 1, len(items), int(widths.max()) + 1))
        for place, item in enumerate(items):
            columns = self.features.indices[starts[item] : starts[item + 1]]
            own = sparse.csr_array(self.columns[:, np.append(columns, self.targets[item])])
            counts = sparse.csr_array(own.T @ own).toarray()
            k = len(columns)
            grams[:k, place, :k] = counts[:k, :k]
            grams[-1, place, :k] = grams[:k, place, -1] = counts[k, :k]
        return grams


def descend(grams: Float64Array, shared: Float64Array, *, l1: float, l2: float) -> Float64Array:
    """Non-negative elastic nets, [B, K], by cyclic coordinate descent from 0; a row depends on that row only.

    Args:
        grams: [K, B, K], of B regressions; zeros where one has fewer features.
        shared: [B, K], products of the features with what is regressed.
        l1: penalty on the sum of coefficients, at least 0.
        l2: penalty on half the sum of their squares, above 0: the solution is one.
    """
    done = np.zeros_like(shared)
    rows = np.arange(len(shared))
    weights, gradient = done.copy(), shared - l1
    for _ in range(MOST_SWEEPS):
        largest = np.zeros(len(rows))
        for k, gram in enumerate(grams):
            old = weights[:, k]
            new = np.maximum((gradient[:, k] + gram[:, k] * old) / (gram[:, k] + l2), 0.0)
            change = new - old
            gradient -= gram * change[:, None]
            weights[:, k] = new
            np.maximum(largest, np.abs(change), out=largest)
        open_ = largest > TOLERANCE
        if not open_.all():
            done[rows[~open_]] = weights[~open_]
            rows, weights, gradient, grams = rows[open_], weights[open_], gradient[open_], grams[:, open_]
        if not len(rows):
            break
    done[rows] = weights
    return done
