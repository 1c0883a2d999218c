"""The ridge path against scikit-learn, and its leave-one-out predictions against brute-force refits."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from training.models.closed_form.ridge_path import RidgePath

RNG = np.random.default_rng(2)
INPUTS = RNG.standard_normal((30, 6)) * [3, 2, 1, 1, 0.5, 0.1] + 2.0
TARGETS = INPUTS @ RNG.standard_normal((6, 3)) + RNG.standard_normal((30, 3)) - 1.0
CENTRED = INPUTS - INPUTS.mean(axis=0)
UNIT = np.trace(CENTRED.T @ CENTRED) / 6


@pytest.mark.parametrize("strength", [0.01, 1.0, 30.0])
def test_every_strength_is_a_ridge_regression_of_its_own(strength: float) -> None:
    oracle = Ridge(alpha=strength * UNIT).fit(INPUTS, TARGETS)
    matrix, offset = RidgePath(INPUTS, TARGETS).fit(strength)
    np.testing.assert_allclose(matrix, oracle.coef_.T, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(offset, oracle.intercept_, rtol=1e-8)


@pytest.mark.parametrize("strength", [0.01, 1.0, 30.0])
def test_a_left_out_row_is_predicted_as_by_a_fit_without_it(strength: float) -> None:
    expected = []
    for row in range(len(INPUTS)):
        others = np.delete(np.arange(len(INPUTS)), row)
        oracle = Ridge(alpha=strength * UNIT).fit(INPUTS[others], TARGETS[others])
        expected.append(oracle.predict(INPUTS[[row]])[0])
    np.testing.assert_allclose(RidgePath(INPUTS, TARGETS).leave_one_out(strength), expected, rtol=1e-7, atol=1e-9)


def test_more_dimensions_than_rows_are_no_trouble() -> None:
    inputs, targets = RNG.standard_normal((5, 40)), RNG.standard_normal((5, 2))
    path = RidgePath(inputs, targets)
    matrix, offset = path.fit(0.03)
    assert np.isfinite(path.leave_one_out(0.03)).all()
    assert np.abs(inputs @ matrix + offset - targets).mean() < 0.3 * np.abs(targets).mean()
