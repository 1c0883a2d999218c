"""The target rows to predict: users' own items mixed with their ALS reconstructions, kept as factors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from diffcdr.arrays import Float64Array


@dataclass(frozen=True)
class TargetRows:
    """T [n, m] = ``interactions`` + ``users`` ``items``', never made dense.

    ``interactions`` float64 [n, m]; ``users`` [n, r]; ``items`` [m, r].
    """

    interactions: sparse.csr_array
    users: Float64Array
    items: Float64Array

    def mixed(self, raw_share: float) -> TargetRows:
        """``raw_share`` times the interactions + (1 - ``raw_share``) times the rest."""
        own = sparse.csr_array(self.interactions * raw_share)
        return TargetRows(own, self.users * (1.0 - raw_share), self.items)

    def mean(self) -> Float64Array:
        """The average row, [m]."""
        own = np.asarray(self.interactions.mean(axis=0), dtype=np.float64).ravel()
        average: Float64Array = own + self.items @ self.users.mean(axis=0)
        return average

    def combined(self, weights: Float64Array) -> Float64Array:
        """``weights`` [n, d]' T, [d, m]."""
        total: Float64Array = (self.interactions.T @ weights).T + (weights.T @ self.users) @ self.items.T
        return total

    def projected(self, items: Float64Array) -> Float64Array:
        """T times ``items`` [m, d], [n, d]."""
        total: Float64Array = self.interactions @ items + self.users @ (self.items.T @ items)
        return total
