"""Ratings as NumPy columns, for every step of training; networks make tensors of them (``problem.rating_tensors``)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from diffcdr.arrays import Float32Array, Float64Array, Int64Array


@dataclass(frozen=True)
class RatingTable:
    """Parallel columns, ordered by (user, item): ``users``, ``items`` int64 [R]; ``ratings`` float32 [R]."""

    users: Int64Array
    items: Int64Array
    ratings: Float32Array
    n_users: int
    n_items: int

    def __len__(self) -> int:
        return len(self.ratings)

    @property
    def values(self) -> Float64Array:
        """``ratings`` as float64 [R], to sum."""
        return self.ratings.astype(np.float64)

    def take(self, rows: Int64Array | npt.NDArray[np.bool_]) -> RatingTable:
        """The ratings at ``rows`` (positions, ascending, or a mask [R]), of the same users and items."""
        return RatingTable(self.users[rows], self.items[rows], self.ratings[rows], self.n_users, self.n_items)

    def indptr(self) -> Int64Array:
        """Where each user's ratings are, int64 [n_users + 1]: those of user u at ``indptr[u]:indptr[u + 1]``."""
        return np.searchsorted(self.users, np.arange(self.n_users + 1)).astype(np.int64)

    def user_sums(self, values: Float64Array | None = None) -> Float64Array:
        """Sums of ``values`` [R] per user, or numbers of ratings: float64 [n_users]."""
        return np.bincount(self.users, values, minlength=self.n_users).astype(np.float64)

    def item_sums(self, values: Float64Array | None = None) -> Float64Array:
        """Sums of ``values`` [R] per item, or numbers of ratings: float64 [n_items]."""
        return np.bincount(self.items, values, minlength=self.n_items).astype(np.float64)

    def matrix(self, values: npt.NDArray[np.floating]) -> sparse.csr_array:
        """``values`` [R] at their places in [n_users, n_items]; those of a pair given twice are added."""
        return sparse.csr_array((values, (self.users, self.items)), shape=(self.n_users, self.n_items))
