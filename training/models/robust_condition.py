"""What the robust form knows of a user: how they rate in the source domain, and what."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

from training.models.history import HistoryMap
from training.models.robust_target import JointBiases, Ratings

Float64Array = npt.NDArray[np.float64]

SHRINKAGE = 5.0
LEVEL_SHRINKAGES = (2.0, 15.0)
"""Of the level, twice: their mix is a shrinkage that the data choose."""
LEVELS = 5
"""Equal parts of the rating range; the shares of all but the last are features."""
SHAPE_DIM = len(LEVEL_SHRINKAGES) + LEVELS - 1 + 2


def rating_shape(source: Ratings, *, rating_range: tuple[float, float]) -> Float64Array:
    """How each user rates: float64 [n_users, SHAPE_DIM].

    The level (mean residual about the items' biases) at two shrinkages, shares of rating levels (shrunk to the
    domain's), spread of what the level leaves, log of the number of ratings.
    """
    biases = JointBiases.fit(source, item_shrinkage=SHRINKAGE, user_shrinkage=SHRINKAGE)
    residuals = biases.item_residuals(source)
    numbers, totals = source.by_user(), source.by_user(residuals)
    left = residuals - biases.users[source.users]
    squares = source.by_user(left**2)
    columns = [totals / (numbers + shrinkage) for shrinkage in LEVEL_SHRINKAGES]
    levels = rating_levels(source.values, rating_range=rating_range)
    for level in range(LEVELS - 1):
        has = (levels == level).astype(np.float64)
        columns.append((source.by_user(has) + SHRINKAGE * has.mean()) / (numbers + SHRINKAGE))
    columns.append(np.sqrt((squares + SHRINKAGE * left.var()) / (numbers + SHRINKAGE)))
    columns.append(np.log1p(numbers))
    return np.stack(columns, axis=1)


def rating_levels(values: Float64Array, *, rating_range: tuple[float, float]) -> npt.NDArray[np.int64]:
    """The nearest of ``LEVELS`` evenly spaced ratings, 0 the lowest; one star each on a scale from 1 to 5."""
    lowest, highest = rating_range
    places = (values - lowest) / (highest - lowest) * (LEVELS - 1)
    return np.clip(np.floor(places + 0.5), 0, LEVELS - 1).astype(np.int64)


def history_features(items: sparse.csr_array, *, dim: int, seed: int) -> Float64Array:
    """What each user rated, whatever the value: tf-idf features, float64 [n_users, dim or less]."""
    history = HistoryMap.fit(items, dim=dim, vector_weight=0.0, seed=seed)
    return history.conditions(items, np.zeros((items.shape[0], 0))).astype(np.float64)
