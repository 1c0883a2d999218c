import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from diffcdr.errors import InputError
from training.evaluation.ratings import rating_metrics

RANGE = (1.0, 5.0)


def test_hand_worked_values() -> None:
    metrics = rating_metrics(np.array([3.0, 7.0, 0.0]), np.array([4.0, 5.0, 1.0]), rating_range=RANGE)
    assert metrics.mae == pytest.approx(4 / 3)
    assert metrics.rmse == pytest.approx(np.sqrt(6 / 3))
    # 7 becomes 5 and 0 becomes 1: only the first is still off.
    assert metrics.mae_clipped == pytest.approx(1 / 3)
    assert metrics.rmse_clipped == pytest.approx(np.sqrt(1 / 3))


@given(st.lists(st.tuples(st.floats(-20, 20), st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0])), min_size=1, max_size=50))
def test_agrees_with_scikit_learn_and_clipping_never_hurts(pairs: list[tuple[float, float]]) -> None:
    predicted, actual = np.array(pairs).T
    metrics = rating_metrics(predicted, actual, rating_range=RANGE)
    assert metrics.mae == pytest.approx(mean_absolute_error(actual, predicted))
    assert metrics.rmse == pytest.approx(root_mean_squared_error(actual, predicted))
    clipped = np.clip(predicted, *RANGE)
    assert metrics.mae_clipped == pytest.approx(mean_absolute_error(actual, clipped))
    assert metrics.rmse_clipped == pytest.approx(root_mean_squared_error(actual, clipped))
    assert metrics.mae_clipped <= metrics.mae + 1e-12
    assert metrics.rmse_clipped <= metrics.rmse + 1e-12
    assert metrics.mae <= metrics.rmse + 1e-9


def test_sums_in_float64() -> None:
    predicted = np.full(1001, 1.1, dtype=np.float32)
    metrics = rating_metrics(predicted, np.ones_like(predicted), rating_range=RANGE)
    assert metrics.mae == pytest.approx(float(np.float32(1.1)) - 1.0, rel=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_diverged_model_is_an_error_not_a_figure(bad: float) -> None:
    with pytest.raises(InputError, match="diverged"):
        rating_metrics(np.array([3.0, bad]), np.array([3.0, 3.0]), rating_range=RANGE)


def test_nothing_to_measure_is_an_error() -> None:
    with pytest.raises(InputError, match="no held-out ratings"):
        rating_metrics(np.array([]), np.array([]), rating_range=RANGE)
