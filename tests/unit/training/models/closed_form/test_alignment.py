"""The closed-form ALM against the optimality condition of what it minimises."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import sparse

from training.models.closed_form.alignment import TaskLoss, fit_alignment

RNG = np.random.default_rng(6)
USERS, ITEMS, DIM = 20, 15, 3
MEAN = RNG.standard_normal(DIM)
SOLVED = RNG.standard_normal((USERS, DIM))
TARGETS = SOLVED @ RNG.standard_normal((DIM, DIM)) + 0.1 * RNG.standard_normal((USERS, DIM))
VECTORS = RNG.standard_normal((ITEMS, DIM))
OWN = (RNG.random((USERS, ITEMS)) < 0.3).astype(np.float64)
Float64Array = npt.NDArray[np.float64]


def task(weight: float) -> TaskLoss:
    return TaskLoss(weight, VECTORS, sparse.csr_array(OWN), confidence=10.0, mean=MEAN)


def objective(matrix: Float64Array, *, prior: float, weight: float) -> float:
    aligned = SOLVED @ matrix
    unit = np.trace(SOLVED.T @ SOLVED) / DIM
    confidence = np.where(OWN > 0, 10.0, 1.0)
    misses = confidence * np.square(OWN - (MEAN + aligned) @ VECTORS.T)
    per_eigenvalue = np.trace(VECTORS.T @ VECTORS) / DIM
    return float(
        np.square(TARGETS - aligned).sum()
        + weight / per_eigenvalue * misses.sum()
        + prior * unit * np.square(matrix - np.eye(DIM)).sum()
    )


@pytest.mark.parametrize("weight", [0.0, 0.3, 3.0])
@pytest.mark.parametrize("prior", [0.01, 30.0])
def test_no_other_matrix_is_better(prior: float, weight: float) -> None:
    found = fit_alignment(SOLVED, TARGETS, prior=prior, task=task(weight))
    least = objective(found, prior=prior, weight=weight)
    for _ in range(20):
        step = RNG.standard_normal((DIM, DIM))
        for size in (1e-3, -1e-3, 0.5):
            assert objective(found + size * step, prior=prior, weight=weight) > least


def test_an_endless_prior_is_the_identity_and_none_the_regression() -> None:
    for weight in (0.0, 0.3):
        held = fit_alignment(SOLVED, TARGETS, prior=1e12, task=task(weight))
        np.testing.assert_allclose(held, np.eye(DIM), atol=1e-8)
    free = fit_alignment(SOLVED, TARGETS, prior=1e-12)
    np.testing.assert_allclose(free, np.linalg.lstsq(SOLVED, TARGETS, rcond=None)[0], rtol=1e-6)


def test_a_weight_of_zero_is_no_task_loss() -> None:
    assert np.array_equal(
        fit_alignment(SOLVED, TARGETS, prior=1.0, task=task(0.0)), fit_alignment(SOLVED, TARGETS, prior=1.0)
    )
