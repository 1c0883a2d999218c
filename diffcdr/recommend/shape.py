"""How users rate, as numbers: how high, how evenly, how much (see :class:`RatingShapeSpec`)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from diffcdr.bundle.manifest import RatingShapeSpec

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]


def rating_shape(
    spec: RatingShapeSpec, users: Int64Array, values: Float64Array, residuals: Float64Array, *, n_users: int
) -> Float64Array:
    """Float64 [n_users, spec.dim], each row of that user's ratings alone.

    Args:
        spec: what the domain's ratings are like.
        users: int64 [R], whose rating it is.
        values: [R] ratings.
        residuals: [R] what ``spec.offset`` and the items' level biases leave of them.
        n_users: rows of the result.
    """

    def by_user(weights: Float64Array | None = None) -> Float64Array:
        return np.bincount(users, weights, minlength=n_users).astype(np.float64)

    numbers, totals = by_user(), by_user(residuals)
    left = residuals - (totals / (numbers + spec.shrinkage))[users]
    columns = [totals / (numbers + shrinkage) for shrinkage in spec.level_shrinkages]
    levels = rating_levels(values, rating_range=spec.rating_range, count=len(spec.level_shares) + 1)
    for level, share in enumerate(spec.level_shares):
        has = (levels == level).astype(np.float64)
        columns.append((by_user(has) + spec.shrinkage * share) / (numbers + spec.shrinkage))
    columns.append(np.sqrt((by_user(left**2) + spec.shrinkage * spec.spread) / (numbers + spec.shrinkage)))
    columns.append(np.log1p(numbers))
    return np.stack(columns, axis=1)


def rating_levels(values: Float64Array, *, rating_range: tuple[float, float], count: int) -> Int64Array:
    """The nearest of ``count`` evenly spaced ratings, 0 the lowest; of five, one star each on a scale from 1 to 5."""
    lowest, highest = rating_range
    places = (values - lowest) / (highest - lowest) * (count - 1)
    return np.clip(np.floor(places + 0.5), 0, count - 1).astype(np.int64)
