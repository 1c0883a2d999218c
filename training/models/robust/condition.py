"""What the robust form knows of a user: how they rate in the source domain, and what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from diffcdr.arrays import Float64Array
from diffcdr.bundle.manifest import RatingShapeSpec
from diffcdr.recommend.fold_in import rating_levels, rating_shape
from training.models.robust.target import JointBiases
from training.rating_table import RatingTable

SHRINKAGE = 5.0
LEVEL_SHRINKAGES = (2.0, 15.0)
"""Of the level, twice: their mix is a shrinkage that the data choose."""
LEVELS = 5
"""Equal parts of the rating range; the shares of all but the last are features."""
SHAPE_DIM = len(LEVEL_SHRINKAGES) + LEVELS - 1 + 2


@dataclass(frozen=True)
class RatingShapes:
    """How each user rates, ``users`` float64 [n_users, SHAPE_DIM], and what that is measured by.

    The level (mean residual about the items' biases) at two shrinkages, shares of rating levels (shrunk to the
    domain's), spread of what the level leaves, log of the number of ratings.
    """

    spec: RatingShapeSpec
    level_biases: Float64Array
    users: Float64Array

    @classmethod
    def fit(cls, source: RatingTable, *, rating_range: tuple[float, float]) -> Self:
        """From all ratings of the domain."""
        biases = JointBiases.fit(source, item_shrinkage=SHRINKAGE, user_shrinkage=SHRINKAGE)
        # As float32, the precision they are served with.
        level_biases = biases.items.astype(np.float32).astype(np.float64)
        residuals = source.values - biases.mean - level_biases[source.items]
        levels = rating_levels(source.values, rating_range=rating_range, count=LEVELS)
        spec = RatingShapeSpec(
            offset=biases.mean,
            shrinkage=SHRINKAGE,
            level_shrinkages=LEVEL_SHRINKAGES,
            level_shares=tuple(float((levels == level).mean()) for level in range(LEVELS - 1)),
            spread=float((residuals - biases.users[source.users]).var()),
            rating_range=rating_range,
        )
        shapes = rating_shape(spec, source.users, source.values, residuals, n_users=source.n_users)
        return cls(spec, level_biases, shapes)
