"""Scores by their definition (:mod:`diffcdr.search.topk`), on NumPy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from diffcdr.arrays import Float32Array, Float64Array, Int64Array
from diffcdr.search.candidates import EMPTY, pack

ITEMS_AT_ONCE = 65_536


class ExactScores:
    """Computes exact scores of items."""

    def __init__(self, vectors: Float32Array, biases: Float32Array, *, offset: float) -> None:
        """``vectors`` [n, dim] and ``biases`` [n] are kept, not copied."""
        self._vectors, self._biases, self._offset = vectors, biases, offset

    def of(
        self, users: Float32Array, rows: npt.NDArray[np.integer[Any]], more: Float64Array | None = None
    ) -> Float32Array:
        """Scores [R] of item ``rows`` [R] for ``users`` [R, dim] (or [1, dim]): the definition, literally.

        ``more`` [R]: the sparse part.
        """
        # float32 products are exact in float64, and accumulate, unlike sum, adds strictly in order.
        products = self._vectors[rows].astype(np.float64) * users
        total = np.add.accumulate(products, axis=1)[:, -1] if products.shape[1] else np.zeros(len(rows))
        total = total + self._biases[rows] + self._offset
        if more is not None:
            total = total + more
        scores: Float32Array = np.empty(len(rows), dtype=np.float32)
        with np.errstate(over="ignore"):
            scores[:] = total
        return scores

    def keys(self, user: Float32Array, more: Float64Array | None = None) -> Int64Array:
        """Packed (score, row) of every item for ``user`` [dim], int64 [n], by row; ``more`` [n] likewise."""
        keys = np.empty(len(self._vectors), dtype=np.int64)
        for start in range(0, len(keys), ITEMS_AT_ONCE):
            rows = np.arange(start, min(start + ITEMS_AT_ONCE, len(keys)))
            keys[rows] = pack(self.of(user[None], rows, None if more is None else more[rows]), rows)
        return keys


def best_of(keys: Int64Array, k: int, forbidden: Int64Array | None) -> Int64Array:
    """The ``k`` largest of ``keys`` [n >= k], best first, with ``forbidden`` rows as EMPTY; changes ``keys``."""
    if forbidden is not None:
        keys[forbidden] = EMPTY
    return np.sort(np.partition(keys, len(keys) - k)[len(keys) - k :])[::-1]
