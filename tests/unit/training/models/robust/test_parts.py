"""The parts of the robust form, each against its definition."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from diffcdr.recommend.fold_in import rating_levels
from tests.unit.training.rating_tables import rating_table
from training.models.history import HistoryMap
from training.models.robust.condition import SHAPE_DIM, RatingShapes
from training.models.robust.maps import Standardised, fit_levels, own_tastes, taste_maps
from training.models.robust.target import JointBiases, taste_items
from training.rating_table import RatingTable

RANGE = (1.0, 5.0)


def small_ratings(seed: int = 0, *, users: int = 30, items: int = 12) -> RatingTable:
    random = np.random.default_rng(seed)
    rows, columns = np.nonzero(random.random((users, items)) < 0.5)
    return rating_table(rows, columns, random.integers(1, 6, len(rows)), users, items)


def test_joint_biases_solve_both_shrunk_means_at_once() -> None:
    ratings = small_ratings()
    found = JointBiases.fit(ratings, item_shrinkage=3.0, user_shrinkage=5.0)
    # The joint ridge problem, in one piece.
    design = np.zeros((len(ratings.values), ratings.n_users + ratings.n_items))
    design[np.arange(len(design)), ratings.users] = 1.0
    design[np.arange(len(design)), ratings.n_users + ratings.items] = 1.0
    penalties = np.diag([5.0] * ratings.n_users + [3.0] * ratings.n_items)
    exact = np.linalg.solve(design.T @ design + penalties, design.T @ (ratings.values - ratings.values.mean()))
    np.testing.assert_allclose(found.users, exact[: ratings.n_users], atol=2e-3)
    np.testing.assert_allclose(found.items, exact[ratings.n_users :], atol=2e-3)


def test_slopes_are_shrunk_regressions_on_the_level() -> None:
    ratings = small_ratings(1)
    biases = JointBiases.fit(ratings, item_shrinkage=3.0, user_shrinkage=5.0)
    mine = ratings.items == 4
    levels = biases.users[ratings.users[mine]]
    left = ratings.values[mine] - biases.mean - biases.items[4] - levels
    assert biases.slopes(ratings, penalty=2.0)[4] == pytest.approx(float(left @ levels / (levels @ levels + 2.0)))
    assert np.abs(biases.slopes(ratings, penalty=1e9)).max() < 1e-6


def test_levels_of_ratings_are_stars() -> None:
    stars = np.array([1.0, 1.4, 2.0, 2.5, 3.0, 4.0, 4.6, 5.0])
    assert rating_levels(stars, rating_range=RANGE, count=5).tolist() == [0, 0, 1, 2, 2, 3, 4, 4]
    assert rating_levels(np.array([0.0, 10.0]), rating_range=(0.0, 10.0), count=5).tolist() == [0, 4]


def test_shape_of_ratings_by_hand() -> None:
    """Two users, one item each: all biases are those of one rating above and one below the mean."""
    ratings = rating_table([0, 1], [0, 1], [5.0, 1.0], 3, 2)
    shape = RatingShapes.fit(ratings, rating_range=RANGE).users
    assert shape.shape == (3, SHAPE_DIM)
    np.testing.assert_allclose(shape[:, -1], [math.log(2), math.log(2), 0.0])
    np.testing.assert_allclose(shape[:, 2], [2.5 / 6, 3.5 / 6, 0.5])  # share of one star, shrunk to a half
    np.testing.assert_allclose(shape[0, :2], -shape[1, :2])
    np.testing.assert_allclose(shape[2, :2], 0.0)  # nobody's level is zero
    np.testing.assert_allclose(shape[0, 0] * 3, shape[0, 1] * 16)


@given(seed=st.integers(0, 1000), constant=st.booleans())
def test_unfolding_undoes_standardising(seed: int, constant: bool) -> None:
    random = np.random.default_rng(seed)
    rows = random.normal(2.0, 3.0, (20, 5))
    if constant:
        rows[:, 1] = 4.0
    scaling = Standardised.of(rows, first=3)
    matrix, offset = random.normal(size=(5, 2)), random.normal(size=2)
    raw, raw_offset = scaling.unfold(matrix, offset)
    np.testing.assert_allclose(rows @ raw + raw_offset, scaling.apply(rows) @ matrix + offset, atol=1e-9)
    spread = scaling.apply(rows)[:, :3].std(axis=0)
    np.testing.assert_allclose(spread, [1.0, 0.0 if constant else 1.0, 1.0], atol=1e-9)


def test_leave_one_out_is_fitting_again_without_each() -> None:
    random = np.random.default_rng(3)
    inputs, levels = random.normal(size=(15, 6)), random.normal(size=(15, 1))
    numbers = random.integers(1, 20, 15).astype(np.float64)

    def fitted(rows: np.ndarray[Any, Any]) -> Any:
        return fit_levels(
            inputs[rows],
            levels[rows],
            numbers[rows],
            shapes=4,
            ratios=(0.2,),
            shape_penalties=(3.0,),
            history_penalties=(7.0,),
        )[0]

    whole = fitted(np.arange(15))
    for row in range(15):
        other = fitted(np.delete(np.arange(15), row))
        assert whole.left_out[row] == pytest.approx(inputs[row] @ other.weights + other.offset)


def test_each_column_gets_the_penalties_that_predict_it_best() -> None:
    random = np.random.default_rng(4)
    inputs = random.normal(size=(60, 5))
    numbers = np.full(60, 10.0)
    told = inputs @ np.array([1.0, 1.0, 1.0, 1.0, 1.0]) + 0.1 * random.normal(size=60)
    levels = np.stack([told, random.normal(size=60)], axis=1)
    settings: dict[str, Any] = {"ratios": (0.2,), "shape_penalties": (1e9, 0.01), "history_penalties": (1e9, 0.01)}
    of_told, of_noise = fit_levels(inputs, levels, numbers, shapes=3, **settings)
    assert (of_told.shape_penalty, of_told.history_penalty) == (0.01, 0.01)
    assert of_noise.history_penalty == 1e9


def test_taste_map_minimises_its_loss() -> None:
    random = np.random.default_rng(5)
    left = sparse.csr_array(random.normal(size=(20, 9)) * (random.random((20, 9)) < 0.5))
    inputs, items = random.normal(size=(20, 3)), random.normal(size=(9, 2))
    ((penalty, found),) = taste_maps(inputs, left, items, penalties=(4.0,))
    rows, columns = left.nonzero()
    design = np.einsum("rd,rk->rdk", inputs[rows], items[columns]).reshape(len(rows), 6)
    exact = np.linalg.solve(design.T @ design + penalty * np.eye(6), design.T @ left[rows, columns])
    np.testing.assert_allclose(found.ravel(), exact, rtol=1e-6)


def test_own_tastes_are_ridge_solutions_and_zero_without_ratings() -> None:
    left = sparse.csr_array(np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]]))
    items = np.array([[1.0], [5.0], [3.0]])
    np.testing.assert_allclose(own_tastes(left, items, penalty=4.0), [[(1 + 6) / (1 + 9 + 4)], [0.0]])


def test_taste_items_find_a_planted_direction_and_damp_rare_items() -> None:
    random = np.random.default_rng(6)
    users, items = random.normal(size=200), random.normal(size=20)
    rated = random.random((200, 20)) < 0.6
    rated[3:, 0] = False  # item 0 is rare
    rows, columns = np.nonzero(rated)
    left = users[rows] * items[columns]
    ratings = rating_table(rows, columns, left, 200, 20)
    found = taste_items(ratings, left, dim=1, seed=0)[:, 0]
    assert abs(np.corrcoef(found[1:], items[1:])[0, 1]) > 0.97
    assert abs(found[0]) < 0.5 * abs(items[0]) * np.abs(found[1:] / items[1:]).mean()


def test_history_features_depend_on_the_users_own_items_alone() -> None:
    random = np.random.default_rng(7)
    items = sparse.csr_array((random.random((40, 15)) < 0.4).astype(np.float32))
    nothing = np.zeros((80, 0))
    features = HistoryMap.fit(items, dim=6, vector_weight=0.0, seed=0).conditions(items, nothing[:40])
    assert features.shape == (40, 6)
    doubled = sparse.csr_array(sparse.vstack([items, items]))
    same = HistoryMap.fit(doubled, dim=6, vector_weight=0.0, seed=0).conditions(doubled, nothing)
    np.testing.assert_array_equal(same[:40], same[40:])
    assert np.linalg.norm(features, axis=1).max() <= 1.0 + 1e-6
