"""The conditional means of the robust form's DIM, as ridge regressions: a user's level, and the residual taste."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg

from diffcdr.arrays import Float64Array

NOISE_RATIO = 0.1
"""The ratio that leave-one-out errors are weighed with, whatever the fit's own."""
INTERCEPT_PENALTY = 1e-6
FIRST_PENALTY = 1.0
"""Of the first feature, the source level, which carries most of what there is to know."""
SMALLEST = 1e-6
ITERATIONS = 12
"""Of conjugate gradients, from zero: stopping early shrinks as well."""


@dataclass(frozen=True)
class Standardised:
    """Features less their means over their scales; a feature that never varies stays zero."""

    means: Float64Array
    scales: Float64Array

    @classmethod
    def of(cls, training: Float64Array, *, first: int) -> Standardised:
        """As of the rows of ``training`` [n, d]: one scale each for the ``first`` features, one for all others."""
        spreads = training.std(axis=0)
        spreads[first:] = spreads[first:].mean() if training.shape[1] > first else 1.0
        return cls(training.mean(axis=0), np.where(spreads > SMALLEST, spreads, 1.0))

    def apply(self, rows: Float64Array) -> Float64Array:
        """The standardised ``rows``."""
        standardised: Float64Array = (rows - self.means) / self.scales
        return standardised

    def unfold(self, matrix: Float64Array, offset: Float64Array) -> tuple[Float64Array, Float64Array]:
        """(A, b) on raw rows, from a map on standardised ones."""
        raw = matrix / self.scales[:, None]
        return raw, offset - self.means @ raw


@dataclass(frozen=True)
class LevelMap:
    """level = x @ ``weights`` + ``offset``; ``left_out`` [n]: training users, each predicted from all others."""

    weights: Float64Array
    offset: float
    left_out: Float64Array
    ratio: float
    shape_penalty: float
    history_penalty: float


def fit_levels(
    inputs: Float64Array,
    levels: Float64Array,
    numbers: Float64Array,
    *,
    shapes: int,
    ratios: tuple[float, ...],
    shape_penalties: tuple[float, ...],
    history_penalties: tuple[float, ...],
) -> list[LevelMap]:
    """One map for each column of ``levels``, ratio and penalties those with the lowest leave-one-out error.

    ``inputs`` [n, d], standardised, the first ``shapes`` of them of how users rate, the others of their history.
    ``levels`` [n, L]: mean residuals of a user's target ratings. ``numbers`` [n] of these ratings. A user's mean is
    known to within noise / n, so users weigh n / (1 + ratio n): ten light users tell more than one heavy one.
    """
    rows = np.hstack([np.ones((len(inputs), 1)), inputs])
    judged = numbers / (1.0 + NOISE_RATIO * numbers)
    best: list[LevelMap | None] = [None] * levels.shape[1]
    errors = np.full(levels.shape[1], np.inf)
    for ratio in ratios:
        weights = numbers / (1.0 + ratio * numbers)
        weighted = rows * weights[:, None]
        gram, right = weighted.T @ rows, weighted.T @ levels
        for shape, history in product(shape_penalties, history_penalties):
            penalties = [INTERCEPT_PENALTY, FIRST_PENALTY, *[shape] * (shapes - 1)]
            penalties += [history] * (rows.shape[1] - len(penalties))
            inverse = np.linalg.inv(gram + np.diag(penalties))
            found = inverse @ right
            leverage = weights * np.einsum("nd,nd->n", rows @ inverse, rows)
            left_out = levels - (levels - rows @ found) / np.maximum(1.0 - leverage, SMALLEST)[:, None]
            scores = judged @ (levels - left_out) ** 2
            for column in np.flatnonzero(scores < errors):
                errors[column] = scores[column]
                best[column] = LevelMap(
                    found[1:, column], float(found[0, column]), left_out[:, column], ratio, shape, history
                )
    return [found for found in best if found is not None]


def taste_maps(
    inputs: Float64Array, left: sparse.csr_array, items: Float64Array, *, penalties: tuple[float, ...]
) -> Iterator[tuple[float, Float64Array]]:
    """(penalty, A [d, k]) for each penalty: argmin_A  sum (left_uj - (x_u A) . v_j)^2 + penalty |A|^2.

    The task loss of Eq. 7, on what the biases leave of the training overlap users' ratings: ``left`` [n, n_items].
    ``inputs`` x [n, d], ``items`` v [n_items, k].
    """
    shape = (inputs.shape[1], items.shape[1])
    rows = np.repeat(np.arange(left.shape[0]), np.diff(left.indptr))
    right = inputs.T @ (left @ items)

    def solve(penalty: float) -> Float64Array:
        def curvature(flat: Float64Array) -> Float64Array:
            matrix = flat.reshape(shape)
            fitted = np.einsum("rk,rk->r", (inputs @ matrix)[rows], items[left.indices])
            pushed = sparse.csr_array((fitted, left.indices, left.indptr), shape=left.shape) @ items
            total: Float64Array = inputs.T @ pushed + penalty * matrix
            return total.ravel()

        operator = LinearOperator((right.size, right.size), matvec=curvature, dtype=np.float64)
        answer, _ = cg(operator, right.ravel(), maxiter=ITERATIONS, rtol=1e-10)
        return np.asarray(answer, dtype=np.float64).reshape(shape)

    for penalty in penalties:
        yield penalty, solve(penalty)


def own_tastes(left: sparse.csr_array, items: Float64Array, *, penalty: float) -> Float64Array:
    """q_u of users by their own remainders: argmin_q  sum_j (left_uj - q . v_j)^2 + penalty |q|^2; [n, k]."""
    tastes = np.zeros((left.shape[0], items.shape[1]))
    ridge = penalty * np.eye(items.shape[1])
    for user, (start, stop) in enumerate(zip(left.indptr[:-1], left.indptr[1:], strict=True)):
        own = items[left.indices[start:stop]]
        tastes[user] = np.linalg.solve(own.T @ own + ridge, own.T @ left.data[start:stop])
    return tastes
