"""Similar items: the exact nearest by cosine of the item vectors, of one domain or of both.

Across domains, a source item lies where a history of it alone moves the target vector of a user without ratings.

Sums are computed in float64 in the order of the dimensions, so results do not depend on processor or block size.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from diffcdr.arrays import BoolArray, Float32Array, Float64Array

BLOCK_ROWS = 8192


class SimilarItems:
    """Finds the nearest of ``vectors``, float32 [m, dim], finite; their lengths are computed once."""

    def __init__(self, vectors: Float32Array) -> None:
        self._vectors = vectors
        self._lengths = np.sqrt(self._products(None))

    def nearest(
        self, row: int, k: int, *, among: BoolArray | None = None
    ) -> tuple[npt.NDArray[np.int64], Float64Array]:
        """Up to ``k`` items most similar to the one at ``row``, without itself, and their cosines, -1 to 1.

        ``among`` bool [m]: the items to choose from; None for all.

        Most similar first; ties by lower row. An item with a zero vector is similar to none.
        """
        others = np.ones(len(self._lengths), dtype=np.bool_) if among is None else among.copy()
        others[row] = False
        return self.nearest_to(self._vectors[row], k, among=others)

    def nearest_to(
        self, vector: Float32Array, k: int, *, among: BoolArray | None = None
    ) -> tuple[npt.NDArray[np.int64], Float64Array]:
        """The same for a ``vector`` [dim] that is not one of them."""
        lengths, wanted = self._lengths, np.asarray(vector, dtype=np.float64)
        own = float(np.sqrt(np.add.accumulate(wanted * wanted)[-1]))
        others = lengths > 0.0
        if among is not None:
            others &= among
        rows = np.flatnonzero(others)
        if not own or not len(rows) or k < 1:
            return np.empty(0, dtype=np.int64), np.empty(0)
        products = self._products(wanted)
        cosines = np.clip(products[rows] / lengths[rows] / own, -1.0, 1.0)
        if k < len(rows):
            least = np.partition(cosines, len(rows) - k)[len(rows) - k]
            kept = cosines >= least
            rows, cosines = rows[kept], cosines[kept]
        order = np.argsort(-cosines, kind="stable")[:k]
        return rows[order], cosines[order]

    def _products(self, vector: Float64Array | None) -> Float64Array:
        """Dot products with ``vector`` [dim], or of each item's vector with itself: float64 [m]."""
        found = np.zeros(len(self._vectors))
        for start in range(0, len(found), BLOCK_ROWS):
            block = np.asarray(self._vectors[start : start + BLOCK_ROWS]).T.astype(np.float64, order="C")
            total = found[start : start + BLOCK_ROWS]
            for place, column in enumerate(block):
                total += column * (column if vector is None else vector[place])
        return found
