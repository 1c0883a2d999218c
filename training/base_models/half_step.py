"""User vectors in closed form: the ridge half-step of a factor model, for all users at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from diffcdr.arrays import Float64Array
from training.evaluation.evaluate import predict
from training.problem import ScoringHead
from training.rating_table import RatingTable

VALUES_AT_ONCE = 1 << 23
"""Float64 values of outer products held at once: 64 MiB."""
SMALLEST = 1e-6

SCALES = (1.0, 0.1, 0.3, 3.0, 10.0, 30.0, 100.0)
SAMPLED_USERS = 2_000


def prior_regularisation(
    user_vectors: npt.NDArray[np.floating], head: ScoringHead, ratings: RatingTable
) -> Float64Array:
    """Regularisation per dimension, float64 [d], that a factor model with these user vectors amounts to.

    Its training taken as maximum a posteriori with Gaussian factors of mean zero: residual variance over the mean
    square of the dimension's user values, both as found. A dimension that no user uses is held at (almost) zero.

    Args:
        user_vectors: [n_users, d], one row per user that ``ratings`` speaks of.
        head: the item side.
        ratings: at least one.
    """
    residuals = ratings.ratings - predict(user_vectors, head, ratings)
    spread = np.square(user_vectors.astype(np.float64)).mean(axis=0)
    regularisation: Float64Array = np.maximum(np.square(residuals).mean(), SMALLEST) / np.maximum(spread, SMALLEST)
    return regularisation


def nearest_regularisation(
    user_vectors: npt.NDArray[np.floating], head: ScoringHead, ratings: RatingTable
) -> Float64Array:
    """Regularisation per dimension under which users' own ratings give the vectors most like those of training.

    That of :func:`prior_regularisation` times one of ``SCALES``: the sum of squared distances is least over up to
    ``SAMPLED_USERS`` users, evenly spread over the table; of equals the first. A model that gradient descent left on
    its way is no fixed point of the half-step, and is nearest to a stronger one. Arguments as there.
    """
    prior = prior_regularisation(user_vectors, head, ratings)
    rated = np.unique(ratings.users)
    sample = rated[:: -(-len(rated) // SAMPLED_USERS)]
    sampled = ratings.take(np.isin(ratings.users, sample))
    theirs = replace(sampled, users=np.searchsorted(sample, sampled.users), n_users=len(sample))
    wanted = user_vectors[sample].astype(np.float64)

    def distance(scale: float) -> float:
        return float(np.square(ridge_vectors(theirs, head, scale * prior) - wanted).sum())

    return prior * min(SCALES, key=distance)


def ridge_vectors(ratings: RatingTable, head: ScoringHead, regularisation: Float64Array) -> Float64Array:
    """argmin_u  sum (r - offset - b - v.u)^2 + sum_d regularisation[d] u_d^2, for each user: float64 [n_users, d].

    ``regularisation`` is positive; users without ratings get zeros. A user's vector depends on that user's ratings
    alone: users are solved in blocks of bounded memory, each over the user's own rows.
    """
    item_vectors = head.item_vectors.numpy().astype(np.float64)
    items = ratings.items
    residuals = ratings.ratings - head.offset - head.item_biases.numpy().astype(np.float64)[items]
    dim = item_vectors.shape[1]
    vectors = np.zeros((ratings.n_users, dim))
    indptr = ratings.indptr()
    rated = np.flatnonzero(np.diff(indptr))
    starts, stops = indptr[rated], indptr[rated + 1]
    block = (stops - 1) // max(1, VALUES_AT_ONCE // dim**2)
    for number in np.unique(block):
        users = np.flatnonzero(block == number)
        rows = slice(starts[users[0]], stops[users[-1]])
        factors = item_vectors[items[rows]]
        borders = starts[users] - rows.start
        gram = np.add.reduceat(factors[:, :, None] * factors[:, None, :], borders, axis=0)
        right = np.add.reduceat(factors * residuals[rows, None], borders, axis=0)
        vectors[rated[users]] = np.linalg.solve(gram + np.diag(regularisation), right[..., None])[..., 0]
    return vectors
