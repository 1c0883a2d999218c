"""The target side of the robust form: biases, how items react to a user's level, and the taste left after both.

    rating(u, j) = mean + b_j + (1 + d_j) e_u + v_j . q_u

e_u is the user's level, q_u the residual taste. Both are unknown for a cold-start user; they are what is transferred.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffcdr.arrays import Float64Array
from training.models.principal import principal_directions
from training.rating_table import RatingTable

ROUNDS = 8
"""Alternations between item and user biases; later ones change the fourth digit."""
TASTE_DAMPING = 5.0


@dataclass(frozen=True)
class JointBiases:
    """``mean`` + ``items`` [n_items] + ``users`` [n_users], each bias the shrunk mean of what the others leave."""

    mean: float
    items: Float64Array
    users: Float64Array

    @classmethod
    def fit(cls, ratings: RatingTable, *, item_shrinkage: float, user_shrinkage: float) -> JointBiases:
        """Unlike biases taken one after the other, an item is not blamed for who happened to rate it."""
        mean = float(ratings.values.mean())
        items, users = np.zeros(ratings.n_items), np.zeros(ratings.n_users)
        of_items, of_users = ratings.item_sums() + item_shrinkage, ratings.user_sums() + user_shrinkage
        around = ratings.values - mean
        for _ in range(ROUNDS):
            items = ratings.item_sums(around - users[ratings.users]) / of_items
            users = ratings.user_sums(around - items[ratings.items]) / of_users
        return cls(mean, items, users)

    def item_residuals(self, ratings: RatingTable) -> Float64Array:
        """What the mean and the items leave of each rating, [R]."""
        residuals: Float64Array = ratings.values - self.mean - self.items[ratings.items]
        return residuals

    def slopes(self, ratings: RatingTable, *, penalty: float) -> Float64Array:
        """d_j: how much more than others item j moves with its raters' levels; ridge, [n_items]."""
        levels = self.users[ratings.users]
        left = self.item_residuals(ratings) - levels
        slopes: Float64Array = ratings.item_sums(left * levels) / (ratings.item_sums(levels**2) + penalty)
        return slopes


def taste_items(ratings: RatingTable, left: Float64Array, *, dim: int, seed: int) -> Float64Array:
    """v_j [n_items, dim]: main directions of the ratings' remainders ``left`` [R], those of rare items damped."""
    of_users, of_items = ratings.user_sums(), ratings.item_sums()
    weights = 1.0 / np.sqrt((of_users + TASTE_DAMPING)[ratings.users] * (of_items + TASTE_DAMPING)[ratings.items])
    damping = np.sqrt(of_items * ratings.n_items) / (of_items + TASTE_DAMPING)
    return damping[:, None] * principal_directions(ratings.matrix(left * weights), dim=dim, seed=seed)
