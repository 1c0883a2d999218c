"""A user's history as features: tf-idf of the items, projected on the principal directions of all histories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from diffcdr.arrays import Float32Array
from training.models.principal import principal_directions


@dataclass(frozen=True)
class HistoryMap:
    """The condition of a user with a given set of items: [features ; ``vector_weight`` * unit base vector].

    Features: the sum of ``idf[j] * basis[j]`` over the user's items j, over the length of the user's idf vector.

    ``idf`` [n_items], ``basis`` [n_items, d], float32: what is served is what was trained with.
    """

    idf: Float32Array
    basis: Float32Array
    vector_weight: float

    @classmethod
    def fit(
        cls, interactions: sparse.csr_array, *, dim: int, vector_weight: float, seed: int, idf_power: float = 1.0
    ) -> Self:
        """From all users' items: binary [n_users, n_items].

        The idf is ln((n_users + 1) / (users of the item + 1)) to the power ``idf_power``; the basis are the ``dim``
        leading right singular vectors (fewer where the matrix has fewer) of the unit-length tf-idf rows.
        """
        idf = inverse_frequencies(interactions, power=idf_power)
        basis = principal_directions(unit_rows(interactions, idf), dim=dim, seed=seed)
        return cls(idf, np.ascontiguousarray(basis, dtype=np.float32), vector_weight)

    @property
    def dim(self) -> int:
        """d, the number of features."""
        return int(self.basis.shape[1])

    def conditions(self, interactions: sparse.csr_array, vectors: npt.NDArray[np.floating]) -> Float32Array:
        """Float32 [n, d + k] of users with these items (binary [n, n_items]) and base ``vectors`` [n, k]."""
        features = unit_rows(interactions, self.idf) @ self.basis.astype(np.float64)
        wide = vectors.astype(np.float64)
        lengths = np.linalg.norm(wide, axis=1, keepdims=True)
        directions = np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)
        return np.hstack([features, self.vector_weight * directions]).astype(np.float32)


def inverse_frequencies(interactions: sparse.csr_array, *, power: float) -> Float32Array:
    """ln((n_users + 1) / (users of the item + 1)) ** ``power`` of each item, float32 [n_items]."""
    holders = np.asarray(interactions.sum(axis=0), dtype=np.float64).ravel()
    weights: Float32Array = (np.log((interactions.shape[0] + 1) / (holders + 1)) ** power).astype(np.float32)
    return weights


def unit_rows(interactions: sparse.csr_array, idf: Float32Array) -> sparse.csr_array:
    """Each row of binary ``interactions`` times ``idf``, at length 1, in float64; rows without weight stay zero."""
    weighted = sparse.csr_array(interactions.astype(np.float64) * idf.astype(np.float64)[None, :])
    lengths = np.sqrt(np.asarray(weighted.power(2).sum(axis=1)).ravel())
    inverse = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return sparse.csr_array(sparse.diags_array(inverse) @ weighted)
