import numpy as np
import pytest
import torch

from tests.unit.training.rating_tables import rating_table
from training.base_models import half_step as ridge
from training.base_models.half_step import nearest_regularisation, prior_regularisation, ridge_vectors
from training.problem import ScoringHead
from training.rating_table import RatingTable

N_USERS, N_ITEMS, DIM = 40, 25, 3


def planted(*, noise: float = 0.0) -> tuple[RatingTable, ScoringHead, np.ndarray]:
    """Ratings that follow a factor model, with every fourth user silent."""
    random = np.random.default_rng(5)
    users = random.normal(size=(N_USERS, DIM)) * np.array([1.0, 2.0, 0.5])
    users[::4] = 0.0
    items = random.normal(size=(N_ITEMS, DIM)).astype(np.float32)
    biases = random.normal(size=N_ITEMS).astype(np.float32)
    pairs = np.argwhere(random.random((N_USERS, N_ITEMS)) < 0.6)
    pairs = pairs[pairs[:, 0] % 4 != 0]
    ratings = 3.0 + biases[pairs[:, 1]] + np.einsum("rd,rd->r", users[pairs[:, 0]], items[pairs[:, 1]])
    ratings += noise * random.normal(size=len(ratings))
    table = rating_table(
        torch.from_numpy(pairs[:, 0].copy()),
        torch.from_numpy(pairs[:, 1].copy()),
        torch.from_numpy(ratings.astype(np.float32)),
        n_users=N_USERS,
        n_items=N_ITEMS,
    )
    return table, ScoringHead(torch.from_numpy(items), torch.from_numpy(biases), 3.0), users


def test_finds_the_planted_users_where_nothing_holds_them_back() -> None:
    table, head, users = planted()
    assert np.allclose(ridge_vectors(table, head, np.full(DIM, 1e-9)), users, atol=1e-5)


def test_equals_each_users_own_least_squares_and_no_ratings_give_zeros() -> None:
    table, head, _ = planted(noise=0.5)
    regularisation = np.array([0.5, 2.0, 7.0])
    vectors = ridge_vectors(table, head, regularisation)
    for user in range(N_USERS):
        mine = table.users == user
        items = table.items[mine]
        design = np.vstack([head.item_vectors.numpy()[items].astype(np.float64), np.diag(np.sqrt(regularisation))])
        right = table.ratings[mine] - 3.0 - head.item_biases.numpy().astype(np.float64)[items]
        expected = np.linalg.lstsq(design, np.concatenate([right, np.zeros(DIM)]), rcond=None)[0]
        assert np.allclose(vectors[user], expected, atol=1e-9)
    assert not vectors[::4].any()


def test_does_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    table, head, _ = planted(noise=0.5)
    whole = ridge_vectors(table, head, np.ones(DIM))
    for values in (1, 100, 900):
        monkeypatch.setattr(ridge, "VALUES_AT_ONCE", values)
        assert np.array_equal(ridge_vectors(table, head, np.ones(DIM)), whole)


def test_the_prior_is_residual_variance_over_user_spread() -> None:
    table, head, users = planted(noise=0.5)
    found = prior_regularisation(users, head, table)
    assert found == pytest.approx(0.25 / np.square(users).mean(axis=0), rel=0.2)
    # A dimension nobody uses is held at zero.
    unused = users * np.array([1.0, 0.0, 1.0])
    assert abs(ridge_vectors(table, head, prior_regularisation(unused, head, table))[:, 1]).max() < 1e-3


def test_the_nearest_half_step_is_the_one_that_made_the_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    table, head, _ = planted(noise=0.5)
    for scale in (1.0, 10.0):
        # A fixed point: what the regularisation makes of the ratings is what it is asked to come near.
        monkeypatch.setattr(ridge, "prior_regularisation", lambda *_: np.array([0.5, 1.0, 2.0]))
        made = ridge_vectors(table, head, scale * np.array([0.5, 1.0, 2.0]))
        assert nearest_regularisation(made, head, table) == pytest.approx(scale * np.array([0.5, 1.0, 2.0]))
    # Users who are taken at all are enough.
    monkeypatch.setattr(ridge, "SAMPLED_USERS", 7)
    assert nearest_regularisation(made, head, table) == pytest.approx(10.0 * np.array([0.5, 1.0, 2.0]))
