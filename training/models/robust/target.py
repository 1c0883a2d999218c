"""The target side of the robust form: biases, how items react to a user's level, and the taste left after both.

    rating(u, j) = mean + b_j + (1 + d_j) e_u + v_j . q_u

e_u is the user's level, q_u the residual taste. Both are unknown for a cold-start user; they are what is transferred.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

from diffcdr.arrays import Float64Array, Int64Array
from training.problem import RatingTable

ROUNDS = 8
"""Alternations between item and user biases; later ones change the fourth digit."""
TASTE_DAMPING = 5.0
POWER_ITERATIONS = 3


@dataclass(frozen=True)
class Ratings:
    """A :class:`RatingTable` as arrays for sums over users or items; ``values`` float64 [R]."""

    users: Int64Array
    items: Int64Array
    values: Float64Array
    n_users: int
    n_items: int

    @classmethod
    def of(cls, table: RatingTable) -> Ratings:
        """The same ratings, in the same order."""
        return cls(
            table.users.numpy(),
            table.items.numpy(),
            table.ratings.double().numpy(),
            table.n_users,
            table.n_items,
        )

    def by_user(self, values: Float64Array | None = None) -> Float64Array:
        """Sums of ``values`` [R] per user, or numbers of ratings: [n_users]."""
        return np.bincount(self.users, values, minlength=self.n_users).astype(np.float64)

    def by_item(self, values: Float64Array | None = None) -> Float64Array:
        """Sums of ``values`` [R] per item, or numbers of ratings: [n_items]."""
        return np.bincount(self.items, values, minlength=self.n_items).astype(np.float64)

    def matrix(self, values: Float64Array) -> sparse.csr_array:
        """``values`` [R] at their places in [n_users, n_items]."""
        return sparse.csr_array((values, (self.users, self.items)), shape=(self.n_users, self.n_items))


@dataclass(frozen=True)
class JointBiases:
    """``mean`` + ``items`` [n_items] + ``users`` [n_users], each bias the shrunk mean of what the others leave."""

    mean: float
    items: Float64Array
    users: Float64Array

    @classmethod
    def fit(cls, ratings: Ratings, *, item_shrinkage: float, user_shrinkage: float) -> JointBiases:
        """Unlike biases taken one after the other, an item is not blamed for who happened to rate it."""
        mean = float(ratings.values.mean())
        items, users = np.zeros(ratings.n_items), np.zeros(ratings.n_users)
        of_items, of_users = ratings.by_item() + item_shrinkage, ratings.by_user() + user_shrinkage
        around = ratings.values - mean
        for _ in range(ROUNDS):
            items = ratings.by_item(around - users[ratings.users]) / of_items
            users = ratings.by_user(around - items[ratings.items]) / of_users
        return cls(mean, items, users)

    def item_residuals(self, ratings: Ratings) -> Float64Array:
        """What the mean and the items leave of each rating, [R]."""
        residuals: Float64Array = ratings.values - self.mean - self.items[ratings.items]
        return residuals

    def slopes(self, ratings: Ratings, *, penalty: float) -> Float64Array:
        """d_j: how much more than others item j moves with its raters' levels; ridge, [n_items]."""
        levels = self.users[ratings.users]
        left = self.item_residuals(ratings) - levels
        slopes: Float64Array = ratings.by_item(left * levels) / (ratings.by_item(levels**2) + penalty)
        return slopes


def taste_items(ratings: Ratings, left: Float64Array, *, dim: int, seed: int) -> Float64Array:
    """v_j [n_items, dim]: main directions of the ratings' remainders ``left`` [R], those of rare items damped."""
    of_users, of_items = ratings.by_user(), ratings.by_item()
    weights = 1.0 / np.sqrt((of_users + TASTE_DAMPING)[ratings.users] * (of_items + TASTE_DAMPING)[ratings.items])
    rank = max(1, min(dim, ratings.n_users - 1, ratings.n_items - 1))
    # The library knows no sparse arrays.
    damped = sparse.csr_matrix(ratings.matrix(left * weights))
    _, _, directions = randomized_svd(damped, rank, n_iter=POWER_ITERATIONS, random_state=seed)
    damping = np.sqrt(of_items * ratings.n_items) / (of_items + TASTE_DAMPING)
    return damping[:, None] * np.asarray(directions, dtype=np.float64).T
