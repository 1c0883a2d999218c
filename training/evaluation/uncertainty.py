"""Standard errors of the metrics over held-out users.

Users are what is drawn, and a user's ratings come together. For the mean m of values x over R rows of n users, with
S_u the sum and R_u the number of user u's rows (the ratio estimator's; with one row a user the usual sd / sqrt(n)):

    se(m) = sqrt(n / (n - 1) * sum_u (S_u - m R_u)^2) / R

A root mean square r has se(r^2) / (2 r), by the delta method. There is none with fewer than two users.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from diffcdr.arrays import Float64Array
from training.evaluation.ranking import IntArray, RankingMetrics


@dataclass(frozen=True)
class StandardErrors:
    """One for each figure of accuracy, in its unit; rating errors are None for a model whose scores are not ratings."""

    ndcg: float
    hr: float
    recall: float
    mae: float | None = None
    rmse: float | None = None
    mae_clipped: float | None = None
    rmse_clipped: float | None = None


@dataclass(frozen=True)
class RatingErrors:
    """Predicted minus actual rating, float64 [R], ``users`` [R] being whose; ``clipped`` into the rating range."""

    users: IntArray
    raw: Float64Array
    clipped: Float64Array


def standard_errors(ranking: RankingMetrics, ratings: RatingErrors | None) -> StandardErrors | None:
    """Of all figures of one model; None with fewer than two users."""
    n = len(ranking.ndcg)
    if n < 2:
        return None
    rows = np.arange(n)
    lists = {name: mean_error(getattr(ranking, name), rows) for name in ("ndcg", "hr", "recall")}
    if ratings is None:
        return StandardErrors(**lists)
    return StandardErrors(
        **lists,
        mae=mean_error(np.abs(ratings.raw), ratings.users),
        rmse=root_mean_square_error(ratings.raw, ratings.users),
        mae_clipped=mean_error(np.abs(ratings.clipped), ratings.users),
        rmse_clipped=root_mean_square_error(ratings.clipped, ratings.users),
    )


def mean_error(values: Float64Array, users: IntArray) -> float:
    """Standard error of the mean of ``values`` [R], rows of ``users`` [R]; of two users or more."""
    counts = np.bincount(users)
    residuals = np.bincount(users, weights=values) - values.mean() * counts
    n = np.count_nonzero(counts)
    return math.sqrt(n / (n - 1) * float(np.square(residuals).sum())) / len(values)


def root_mean_square_error(values: Float64Array, users: IntArray) -> float:
    """Standard error of sqrt(mean(values^2)); 0 where all are 0."""
    squares = np.square(values)
    root = math.sqrt(float(squares.mean()))
    return mean_error(squares, users) / (2.0 * root) if root > 0.0 else 0.0
