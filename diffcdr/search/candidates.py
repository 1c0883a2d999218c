"""Helpers of the top-k search: candidates for the k best, and (score, row) packed into one sortable integer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from diffcdr.arrays import Float32Array, Float64Array, Int32Array, Int64Array

PADDING = -(2.0**127)
"""The score of padding; finite, since arithmetic with infinities differs between processors."""
LOWEST = -(2.0**126)
"""The lowest bound. With a finite margin, scores are within 1.1e37 of zero, well above it."""


@dataclass(frozen=True, slots=True)
class Ragged:
    """Chosen columns of each user, flat: entry e is column ``columns[e]`` of user ``users[e]``, its ``places[e]``-th.

    ``counts`` [U]: entries per user, -1 for a user left out because they had too many.
    """

    users: Int64Array
    columns: Int64Array
    places: Int64Array
    counts: Int64Array

    def padded(self, *, fill: int) -> Int64Array:
        """int64 [U, largest count], ``fill`` if a user has fewer."""
        out = np.full((len(self.counts), max(1, int(self.counts.max(initial=0)))), fill, dtype=np.int64)
        out[self.users, self.places] = self.columns
        return out


def above(values: Float32Array, k: int, margin: Float64Array, *, limit: int) -> Ragged:
    """Columns of ``values`` [U, N] that can hold one of the k best, given that each value errs by up to ``margin``.

    The k-th largest value errs by one margin, the candidate by another; the third covers rounding the bound itself.
    """
    width = values.shape[1]
    kth = kth_largest(values, k)
    # Never as low as padding, or as -inf, the mark of masked items.
    bound = np.maximum(kth - 3 * margin, LOWEST).astype(np.float32)
    # Several times faster than a two-dimensional nonzero.
    users, columns = np.divmod(np.flatnonzero(values >= bound[:, None]), width)
    counts = np.bincount(users, minlength=len(values))
    if (counts > limit).any():
        kept = counts[users] <= limit
        users, columns = users[kept], columns[kept]
        counts[counts > limit] = -1
    starts = np.cumsum(np.maximum(counts, 0)) - np.maximum(counts, 0)
    return Ragged(users, columns, np.arange(len(users)) - starts[users], counts)


def kth_largest(values: Float32Array, k: int) -> Float64Array:
    """The k-th largest of each row of ``values`` [U, N], float64 [U]; -inf if N is not above ``k``."""
    width = values.shape[1]
    if k >= width:
        return np.full(len(values), -np.inf)
    # On negated values: in the other direction, a row of mostly -inf is twenty times slower.
    return -np.partition(-values, k - 1, axis=1)[:, k - 1].astype(np.float64)


def pack(scores: Float32Array, rows: npt.NDArray[np.integer[Any]]) -> Int64Array:
    """One integer per (score, row) that orders by score, then by falling row: descending is best first.

    The upper half is the float's bits, turned so that they order as integers do; -0.0 counts as 0.0.
    """
    return (_turn((scores + np.float32(0.0)).view(np.int32)).astype(np.int64) << 32) | (0xFFFFFFFF - rows)


def unpack(keys: Int64Array) -> tuple[Int32Array, Float32Array]:
    """Item rows and scores of ``keys``; -1 and -inf of EMPTY."""
    rows = (0xFFFFFFFF - (keys & 0xFFFFFFFF)).astype(np.uint32).view(np.int32)
    return rows, _turn((keys >> 32).astype(np.int32)).view(np.float32)


def _turn(bits: Int32Array) -> Int32Array:
    """Swap the order of negative floats' bits; its own inverse."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


EMPTY = int(pack(np.array([-np.inf], dtype=np.float32), np.array([0xFFFFFFFF]))[0])
"""The key of no item: below that of any item."""
