"""The base model of interactions against the least-squares problem it solves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.unit.training.rating_tables import rating_table
from training.base_models.als import fit_als, interactions
from training.base_models.config import ALSConfig
from training.problem import FactorTables
from training.rating_table import RatingTable

CONFIG = ALSConfig(dim=5, iterations=4)
USERS, ITEMS = 40, 25


def table(*, users: int = USERS, items: int = ITEMS, empty_user: int | None = None, seed: int = 0) -> RatingTable:
    random = np.random.default_rng(seed)
    has = random.random((users, items)) < 0.3
    has[:, 0] = True
    if empty_user is not None:
        has[empty_user] = False
    rows, columns = np.nonzero(has)
    ratings = random.integers(1, 6, len(rows)).astype(np.float32)
    return rating_table(torch.from_numpy(rows), torch.from_numpy(columns), torch.from_numpy(ratings), users, items)


def fit(ratings: RatingTable, config: ALSConfig = CONFIG, *, seed: int = 0) -> FactorTables:
    return fit_als(ratings, config, generator=torch.Generator().manual_seed(seed))


def test_user_vectors_solve_their_half_step_exactly() -> None:
    ratings = table()
    base = fit(ratings)
    assert base.feedback is not None
    assert (base.feedback.confidence, base.feedback.regularisation) == (10.0, 0.05)
    vectors = base.item_vectors.double().numpy()
    own = interactions(ratings).toarray()
    for user in (0, 17, USERS - 1):
        found = base.user_vectors[user].double().numpy()
        confidence = np.where(own[user] > 0, 10.0, 1.0)
        gradient = vectors.T @ (confidence * (own[user] - vectors @ found)) - 0.05 * found
        assert np.abs(gradient).max() < 1e-4 * np.abs(vectors.T @ (confidence * own[user])).max()


def test_users_own_items_score_higher() -> None:
    ratings = table()
    base = fit(ratings, ALSConfig(dim=12))
    scores = (base.user_vectors @ base.item_vectors.T).numpy()
    own = interactions(ratings).toarray() > 0
    assert scores[own].mean() > scores[~own].mean() + 0.3


def test_only_who_has_what_counts() -> None:
    ratings = table()
    other = rating_table(ratings.users, ratings.items, 6 - ratings.ratings, USERS, ITEMS)
    assert torch.equal(fit(ratings).user_vectors, fit(other).user_vectors)


def test_a_seed_fixes_the_result_and_another_changes_it() -> None:
    ratings = table()
    first, again, other = fit(ratings), fit(ratings), fit(ratings, seed=1)
    assert torch.equal(first.user_vectors, again.user_vectors)
    assert torch.equal(first.item_vectors, again.item_vectors)
    assert not torch.equal(first.item_vectors, other.item_vectors)


def test_a_user_without_items_has_a_vector_of_zeros() -> None:
    base = fit(table(empty_user=3))
    assert not base.user_vectors[3].any()
    assert base.user_vectors[2].any()


@pytest.mark.parametrize(("users", "items", "dim"), [(4, 25, 3), (40, 3, 2), (1, 1, 1)])
def test_small_domains_have_fewer_dimensions(users: int, items: int, dim: int) -> None:
    base = fit(table(users=users, items=items), ALSConfig(dim=128, iterations=2))
    assert base.dim == dim
    assert base.user_vectors.shape == (users, dim)
    assert torch.isfinite(base.user_vectors).all()


def test_scores_order_items_and_are_no_ratings() -> None:
    assert fit(table()).head().objective == "ranking"


def test_every_iteration_is_reported() -> None:
    seen: list[tuple[int, int]] = []

    def progress(*, epoch: int, epochs: int, rows: int, figures: dict[str, float]) -> None:
        seen.append((epoch, epochs))

    report: Callable[..., None] = progress
    fit_als(table(), CONFIG, generator=torch.Generator().manual_seed(0), progress=report)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
