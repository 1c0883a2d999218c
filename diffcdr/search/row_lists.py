"""A list of table rows for each user of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from diffcdr.arrays import Int32Array, Int64Array


@dataclass(frozen=True, slots=True)
class RowLists:
    """Rows of user i: ``rows[indptr[i]:indptr[i + 1]]``. ``indptr`` int64 [U + 1], ``rows`` int32 [R]."""

    indptr: Int64Array
    rows: Int32Array

    @classmethod
    def pack(cls, lists: Sequence[npt.NDArray[np.integer[Any]]]) -> Self:
        """One array of rows per user."""
        indptr = np.zeros(len(lists) + 1, dtype=np.int64)
        np.cumsum([len(rows) for rows in lists], out=indptr[1:])
        return cls(indptr, np.concatenate([np.empty(0, dtype=np.int32), *lists]).astype(np.int32))

    def counts(self) -> Int64Array:
        """Rows per user, [U]."""
        return np.diff(self.indptr)

    def take(self, users: Int64Array) -> Self:
        """The rows of ``users``, in their order; none for -1."""
        there = users >= 0
        starts = np.where(there, self.indptr[users], 0)
        counts = np.where(there, self.indptr[users + 1] - starts, 0)
        indptr = np.zeros(len(users) + 1, dtype=np.int64)
        np.cumsum(counts, out=indptr[1:])
        return type(self)(indptr, self.rows[spans(starts, counts)])


def spans(starts: Int64Array, counts: Int64Array) -> Int64Array:
    """``starts[0]``, ``starts[0] + 1``, … (``counts[0]`` of them), ``starts[1]``, …"""
    before = np.cumsum(counts) - counts
    flat: Int64Array = np.arange(int(counts.sum())) + np.repeat(starts - before, counts)
    return flat
