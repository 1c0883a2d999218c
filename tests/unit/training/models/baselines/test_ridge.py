"""Ridge against a plain least-squares solver, and its choice of strength."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from tests.unit.training.models.planted import planted
from tests.unit.training.rating_tables import no_ratings
from training.models.baselines.ridge import Ridge, RidgeConfig
from training.problem import HeldOut

DATA = planted()


def fitted(*strengths: float, held_out: HeldOut = DATA.problem.validation) -> Ridge:
    model = Ridge(RidgeConfig(strengths=strengths))
    model.fit(replace(DATA.problem, validation=held_out), generator=torch.Generator())
    return model


def test_solves_the_penalised_least_squares() -> None:
    problem = DATA.problem
    x = problem.source_base.user_vectors[problem.overlap_source].double().numpy()
    y = problem.target_base.user_vectors[problem.overlap_target].double().numpy() + 0.7
    moved = problem.target_base.user_vectors + 0.7
    model = Ridge(RidgeConfig(strengths=(2.0,)))
    model.fit(
        replace(problem, target_base=replace(problem.target_base, user_vectors=moved)), generator=torch.Generator()
    )
    centred = x - x.mean(axis=0)
    unit = np.trace(centred.T @ centred) / x.shape[1]
    # The penalty as further rows, which the column of the intercept does not see.
    rows = np.vstack(
        [np.hstack([x, np.ones((len(x), 1))]), np.hstack([np.sqrt(2.0 * unit) * np.eye(4), np.zeros((4, 1))])]
    )
    solution = np.linalg.lstsq(rows, np.vstack([y, np.zeros((4, 4))]))[0]
    matrix, offset = model.fold()
    np.testing.assert_allclose(matrix.numpy(), solution[:4], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(offset.numpy(), solution[4], rtol=1e-5, atol=1e-6)


def test_the_strength_is_the_validation_users_choice() -> None:
    # The planted map is exact: pulling towards the mean user can only hurt.
    assert fitted(0.001, 1.0, 100.0).details()["strength"] == 0.001
    ratings = DATA.problem.validation.ratings
    level = HeldOut(DATA.problem.validation.source_rows, replace(ratings, ratings=np.full_like(ratings.ratings, 3.0)))
    assert fitted(0.001, 1.0, 100.0, held_out=level).details()["strength"] == 100.0


def test_without_validation_ratings_the_strongest_is_taken() -> None:
    none = no_ratings(n_items=40)
    model = fitted(0.1, 3.0, 1.0, held_out=HeldOut(torch.empty(0, dtype=torch.int64), none))
    assert model.details()["strength"] == 3.0
