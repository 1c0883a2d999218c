"""The sparse part of a score: what neighbours of a user's source items add to the scores of target items.

    score(u, j) = float32(dense(u, j) + sum over the user's source items i, ascending, of w_i S_ij)

``dense`` is the float64 sum of :mod:`diffcdr.search.topk`. The weights are ``w_i = g_i / (sum of g^2 over the user's
items)^(p / 2)``, in float32, so that each product with a float32 ``S_ij`` is exact in float64 and only the order of
the sum has to be fixed. All values of ``S`` are positive, so no score is below its dense part: an item among the k best
is among the k best by the dense part, or is a neighbour of an item in the history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from diffcdr.arrays import Float32Array, Float64Array, Int32Array, Int64Array
from diffcdr.search.row_lists import RowLists, spans


class Histories(RowLists):
    """Source items of each user of a batch, ascending, without duplicates."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Neighbours:
    """``S`` [m, n] as CSR over source items, target items ascending in each row, and the source items' weights.

    ``item_weights`` float32 [m], 0 or more; ``length_power`` p, 0 to 2; ``indptr`` int64 [m + 1]; ``items`` int32 and
    ``values`` float32 [R], above 0; ``n_items`` n.
    """

    item_weights: Float32Array
    length_power: float
    indptr: Int64Array
    items: Int32Array
    values: Float32Array
    n_items: int

    def weights(self, histories: Histories) -> Float32Array:
        """w of each entry of ``histories``, float32 [R]; 0 for users whose items all have weight 0."""
        own = self.item_weights[histories.rows].astype(np.float64)
        counts = histories.counts()
        # bincount adds strictly in order.
        owners = np.repeat(np.arange(len(counts)), counts)
        squares = np.bincount(owners, own * own, minlength=len(counts)).astype(np.float64)
        lengths = np.repeat(self._lengths(squares), counts)
        return np.divide(own, lengths, out=np.zeros_like(own), where=lengths > 0).astype(np.float32)

    def _lengths(self, squares: Float64Array) -> Float64Array:
        if self.length_power == 0.0:
            return np.where(squares > 0, 1.0, 0.0)
        if self.length_power == 1.0:
            return np.sqrt(squares)
        # Powers differ in the last bit between processors; rounded to float32 they do not.
        return np.power(squares, self.length_power / 2).astype(np.float32).astype(np.float64)

    def entries(self, rows: npt.NDArray[np.integer[Any]], weights: Float32Array) -> tuple[Int32Array, Float64Array]:
        """Target items and addends, [E] both, of source items ``rows`` with ``weights``, in order."""
        starts = self.indptr[rows]
        counts = self.indptr[rows.astype(np.int64) + 1] - starts
        flat = spans(starts, counts)
        return self.items[flat], np.repeat(weights.astype(np.float64), counts) * self.values[flat]


@dataclass(frozen=True, slots=True)
class SparsePart:
    """The sparse part of the scores of a batch of users: a table and their histories."""

    neighbours: Neighbours
    histories: Histories

    def __len__(self) -> int:
        return len(self.histories.indptr) - 1

    def of(self, users: Int64Array) -> Self:
        """The part of ``users`` alone, in their order."""
        return type(self)(self.neighbours, self.histories.take(users))

    def has_any(self) -> npt.NDArray[np.bool_]:
        """Users whose histories contain an item, [U]."""
        return self.histories.counts() > 0

    def sums(self, *, places: Int64Array | None = None, width: int | None = None) -> Float64Array:
        """What is added to each item's score: float64 [U, n_items], by row; above 0 for neighbours of the history.

        ``places`` [n_items]: the column of each item instead of its row, out of ``width``.
        """
        table, weights = self.neighbours, self.neighbours.weights(self.histories)
        columns = table.n_items if width is None else width
        sums = np.zeros((len(self), columns))
        for user in np.flatnonzero(self.has_any()).tolist():
            mine = slice(self.histories.indptr[user], self.histories.indptr[user + 1])
            items, addends = table.entries(self.histories.rows[mine], weights[mine])
            sums[user] = np.bincount(items if places is None else places[items], addends, minlength=columns)
        return sums

    def at(self, users: npt.NDArray[np.integer[Any]], items: npt.NDArray[np.integer[Any]]) -> Float64Array:
        """What is added to the score of each pair of ``users`` (rows of this batch) and ``items``, float64 [R]."""
        added = np.zeros(len(users))
        if not len(users):
            return added
        order = np.argsort(users, kind="stable")
        bounds = np.flatnonzero(np.diff(users[order])) + 1
        for pairs in np.split(order, bounds):
            added[pairs] = self.of(users[pairs[:1]].astype(np.int64)).sums()[0, items[pairs]]
        return added
