"""Ridge on whole target rows: many strengths from one decomposition, its main directions, and leave-one-out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.linear_model import Ridge

from diffcdr.arrays import Float64Array
from training.models.closed_form.blend_config import BlendDiffCDRConfig
from training.models.closed_form.row_chain import RowChain
from training.models.closed_form.row_path import Conditions, RowPath
from training.models.closed_form.target_rows import TargetRows

N, D, M, R = 30, 6, 40, 3


def made(seed: int = 0) -> tuple[Float64Array, TargetRows, Float64Array]:
    """Conditions, target rows, and the rows made dense."""
    random = np.random.default_rng(seed)
    own = (random.random((N, M)) < 0.2).astype(np.float64)
    rows = TargetRows(sparse.csr_array(own), random.normal(size=(N, R)), random.normal(size=(M, R)))
    return random.normal(size=(N, D)), rows, own + rows.users @ rows.items.T


def oracle(inputs: Float64Array, dense: Float64Array, strength: float) -> Ridge:
    centred = inputs - inputs.mean(axis=0)
    return Ridge(alpha=strength * np.trace(centred.T @ centred) / D).fit(inputs, dense)


@given(seed=st.integers(0, 50), share=st.sampled_from([0.0, 0.3, 1.0]))
def test_factored_rows_are_the_dense_ones(seed: int, share: float) -> None:
    _, rows, _ = made(seed)
    mixed = rows.mixed(share)
    dense = share * rows.interactions.toarray() + (1 - share) * rows.users @ rows.items.T
    random = np.random.default_rng(seed)
    left, right = random.normal(size=(N, 4)), random.normal(size=(M, 5))
    np.testing.assert_allclose(mixed.combined(left), left.T @ dense, atol=1e-10)
    np.testing.assert_allclose(mixed.projected(right), dense @ right, atol=1e-10)
    np.testing.assert_allclose(mixed.mean(), dense.mean(axis=0), atol=1e-12)


@pytest.mark.parametrize("strength", [0.1, 1.0, 30.0])
def test_answers_are_those_of_ridge_regression(strength: float) -> None:
    inputs, rows, dense = made()
    others = np.random.default_rng(1).normal(size=(7, D))
    path = RowPath(Conditions(inputs), rows)
    mine = path.answers(path.conditions.place(others), strength) + path.mean
    np.testing.assert_allclose(mine, oracle(inputs, dense, strength).predict(others), atol=1e-4)


@pytest.mark.parametrize("strength", [0.1, 3.0])
def test_directions_are_the_principal_ones_of_the_answers(strength: float) -> None:
    inputs, rows, dense = made()
    path = RowPath(Conditions(inputs), rows)
    space = path.space(strength, 3)
    items = path.items(space)
    np.testing.assert_allclose(items.T @ items, np.eye(3), atol=1e-5)
    answers = oracle(inputs, dense, strength).predict(inputs)
    _, _, principal = np.linalg.svd(answers - answers.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(principal[:3] @ items), np.eye(3), atol=1e-4)
    np.testing.assert_allclose(space.targets, dense @ items, atol=1e-4)


def test_all_directions_without_guidance_and_alm_are_the_ridge_answers() -> None:
    inputs, rows, dense = made()
    path = RowPath(Conditions(inputs), rows)
    space = path.space(1.0, D)
    chain = RowChain(BlendDiffCDRConfig(), path, space, 1.0)
    matrix, offset = path.conditions.unplace(chain.matrix(chain.guided(1.0), None))
    scores = (inputs @ matrix + offset) @ path.items(space).T + path.mean
    np.testing.assert_allclose(scores, oracle(inputs, dense, 1.0).predict(inputs), atol=1e-4)


def test_guidance_beside_one_is_continuous() -> None:
    inputs, rows, _ = made()
    path = RowPath(Conditions(inputs), rows)
    chain = RowChain(BlendDiffCDRConfig(), path, path.space(1.0, 4), 1.0)
    np.testing.assert_allclose(chain.guided(1.0 + 1e-7), chain.guided(1.0), atol=1e-4)
    assert np.linalg.norm(chain.guided(2.0)) > np.linalg.norm(chain.guided(1.0))
