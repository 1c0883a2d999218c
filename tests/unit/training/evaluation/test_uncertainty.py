import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from training.evaluation.ranking import RankingMetrics
from training.evaluation.uncertainty import (
    RatingErrors,
    StandardErrors,
    mean_error,
    root_mean_square_error,
    standard_errors,
)

VALUES = st.lists(st.floats(-5, 5), min_size=2, max_size=30)


@given(VALUES)
def test_with_one_row_a_user_it_is_the_usual_one(values: list[float]) -> None:
    assert mean_error(np.array(values), np.arange(len(values))) == pytest.approx(stats.sem(values), abs=1e-12)


@given(VALUES, st.integers(2, 5))
def test_rows_that_repeat_a_user_s_say_nothing_new(values: list[float], times: int) -> None:
    users = np.arange(len(values))
    again = mean_error(np.repeat(values, times), np.repeat(users, times))
    assert again == pytest.approx(mean_error(np.array(values), users), abs=1e-12)


def test_it_foretells_how_figures_scatter_over_draws_of_users() -> None:
    rng = np.random.default_rng(0)

    def drawn() -> tuple[np.ndarray, np.ndarray]:
        counts = rng.integers(1, 12, 200)
        users = np.repeat(np.arange(200), counts)
        return rng.normal(size=200)[users] + rng.normal(size=len(users)), users

    draws = [drawn() for _ in range(800)]
    for figure, error in (
        (lambda values: values.mean(), mean_error),
        (lambda values: np.sqrt(np.square(values).mean()), root_mean_square_error),
    ):
        scatter = np.std([figure(values) for values, _ in draws])
        assert np.mean([error(values, users) for values, users in draws]) == pytest.approx(scatter, rel=0.1)


def test_hand_worked_values() -> None:
    ranking = RankingMetrics(ndcg=np.array([0.0, 1.0]), hr=np.array([1.0, 1.0]), recall=np.array([0.5, 1.0]))
    ratings = RatingErrors(users=np.array([0, 1, 1]), raw=np.array([3.0, 0.0, 0.0]), clipped=np.zeros(3))
    # Of |raw| the mean is 1: user 0 is 2 above it, user 1 with its two rows 2 below, and sqrt(2 (4 + 4)) / 3 = 4 / 3.
    assert standard_errors(ranking, ratings) == StandardErrors(
        ndcg=pytest.approx(0.5),
        hr=0.0,
        recall=pytest.approx(0.25),
        mae=pytest.approx(4 / 3),
        # Squares have mean 3 and error 4; the root's is 4 / (2 sqrt 3).
        rmse=pytest.approx(2 / np.sqrt(3)),
        mae_clipped=0.0,
        rmse_clipped=0.0,
    )


def test_a_single_user_has_none() -> None:
    one = np.array([0.5])
    assert standard_errors(RankingMetrics(one, one, one), None) is None
