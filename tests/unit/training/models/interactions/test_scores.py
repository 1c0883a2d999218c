"""Each model of histories against its formula, written out with dense matrices, and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import sparse

from diffcdr.errors import InputError
from tests.unit.training.rating_tables import rating_table
from training.models.interactions.dual_ridge import DualRidge, DualRidgeConfig
from training.models.interactions.ease import EASE, EASEConfig, over_items, over_users
from training.models.interactions.gfcf import GFCF, GFCFConfig
from training.models.interactions.itemknn import ItemKNN, ItemKNNConfig
from training.models.interactions.joint_als import JointALS, JointALSConfig
from training.models.interactions.linear import leading_directions
from training.models.interactions.userknn import UserKNN, UserKNNConfig
from training.models.sparse_term import sparse_part
from training.models.table_model import TabularModel
from training.problem import FactorTables, HeldOut, TransferProblem
from training.rating_table import RatingTable

Floats = npt.NDArray[np.float64]
RANDOM = np.random.default_rng(5)
USERS, ITEMS, OTHERS, SHARED = 14, 9, 7, 10
X = (RANDOM.random((USERS, ITEMS)) < 0.4).astype(np.float64)
Y = (RANDOM.random((SHARED + 2, OTHERS)) < 0.4).astype(np.float64)
X[:, 0], Y[:, 0] = 1.0, 1.0
"""Source users 2..11 are target users 0..9; all have item 0."""
OWN, NEW = slice(2, 2 + SHARED), np.arange(12, USERS)


def table(rows: Floats) -> RatingTable:
    users, items = np.nonzero(rows)
    ratings = torch.full((len(users),), 4.0)
    return rating_table(torch.from_numpy(users), torch.from_numpy(items), ratings, *rows.shape)


def problem(source: Floats = X, target: Floats = Y, *, validation: bool = True) -> TransferProblem:
    base = FactorTables(torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(1), 0.0)
    held = Y[:2] if validation else Y[:0]
    return TransferProblem(
        source=table(source),
        target=table(target),
        source_base=base,
        target_base=base,
        overlap_source=torch.arange(2, 2 + SHARED),
        overlap_target=torch.arange(SHARED),
        validation=HeldOut(torch.arange(len(held)), table(held)),
        rating_range=(1.0, 5.0),
    )


def fitted(model: TabularModel, wanted: TransferProblem | None = None) -> TabularModel:
    model.fit(wanted or problem(), generator=torch.Generator().manual_seed(0))
    return model


def scores(model: TabularModel, users: npt.NDArray[np.int64], wanted: TransferProblem | None = None) -> Floats:
    """What the model's served form says of source ``users``: [U, n]."""
    rows = torch.from_numpy(users)
    head = model.head()
    dense = model.transfer(model.source_vectors()[rows].double()).numpy() @ head.item_vectors.double().numpy().T
    part = sparse_part(model.sparse_term(), (wanted or problem()).source, rows)
    found: Floats = dense + head.item_biases.double().numpy() + (0.0 if part is None else part.sums())
    return found


def tfidf(rows: Floats) -> Floats:
    idf = np.log((USERS + 1) / (X.sum(axis=0) + 1))
    weighted = rows * idf
    lengths = np.linalg.norm(weighted, axis=1, keepdims=True)
    unit: Floats = np.divide(weighted, lengths, out=np.zeros_like(weighted), where=lengths > 0)
    return unit


def assert_proportional(found: Floats, expected: Floats) -> None:
    """Each user's scores up to a positive factor: the order of the user's items is the same."""
    factors = (found * expected).sum(axis=1) / np.square(expected).sum(axis=1)
    assert (factors > 0).all()
    np.testing.assert_allclose(found / factors[:, None], expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("row_exponent", "column_exponent"), [(0.0, 0.0), (0.5, 0.25)])
def test_dual_ridge_is_the_penalised_regression_with_an_intercept(row_exponent: float, column_exponent: float) -> None:
    config = DualRidgeConfig(
        strengths=(0.7,), row_exponents=(row_exponent,), column_exponents=(column_exponent,), dim=64
    )
    A, T = tfidf(X[OWN]), Y[:SHARED] / Y[:SHARED].sum(axis=1, keepdims=True) ** row_exponent
    centred = A - A.mean(axis=0)
    penalty = 0.7 * np.square(centred).sum() / SHARED
    B = np.linalg.solve(centred.T @ centred + penalty * np.eye(ITEMS), centred.T @ (T - T.mean(axis=0)))
    expected = (T.mean(axis=0) + (tfidf(X[NEW]) - A.mean(axis=0)) @ B) / Y.sum(axis=0) ** column_exponent
    np.testing.assert_allclose(scores(fitted(DualRidge(config)), NEW), expected, atol=1e-5)


def test_ease_by_hand() -> None:
    """Two users, one source and one target item, of which the second user has the source item alone; strength 1.

    Z'Z + I = [[3, 1], [1, 2]], its inverse [[2, -1], [-1, 3]] / 5: B = -P_01 / P_11 = 1 / 3.
    """
    source, target = sparse.csr_array(np.array([[1.0], [1.0]])), sparse.csr_array(np.array([[1.0], [0.0]]))
    for over in (over_users, over_items):
        np.testing.assert_allclose(over(source, target, 1.0).matmat(np.eye(1)), [[1 / 3]])


def test_ease_over_users_over_items_and_served_are_one() -> None:
    Z = np.hstack([X[OWN], Y[:SHARED]])
    P = np.linalg.inv(Z.T @ Z + 2.0 * np.eye(Z.shape[1]))
    B = -P[:ITEMS, ITEMS:] / np.diag(P)[ITEMS:]
    source, target = sparse.csr_array(X[OWN]), sparse.csr_array(Y[:SHARED])
    for over in (over_users, over_items):
        np.testing.assert_allclose(over(source, target, 2.0).matmat(np.eye(OTHERS)), B, atol=1e-10)
    assert_proportional(scores(fitted(EASE(EASEConfig(strengths=(2.0,)))), NEW), X[NEW] @ B)


def test_gfcf_is_its_two_filters() -> None:
    Z = np.hstack([X[OWN], Y[:SHARED]])
    items, users = np.maximum(Z.sum(axis=0), 1.0), Z.sum(axis=1)
    N = Z / np.sqrt(users)[:, None] / np.sqrt(items)
    U = np.linalg.svd(N)[2][:3].T
    low = (U / np.sqrt(items)[:, None]) @ (U * np.sqrt(items)[:, None]).T
    expected = X[NEW] @ (N.T @ N + 0.3 * low)[:ITEMS, ITEMS:]
    config = GFCFConfig(low_pass_weights=(0.3,), low_pass_dims=(3,))
    assert_proportional(scores(fitted(GFCF(config)), NEW), expected)


def test_userknn_takes_the_nearest_and_never_the_user() -> None:
    config = UserKNNConfig(neighbours=(3,), similarity_exponents=(2.0,), row_exponents=(0.5,))
    found = scores(fitted(UserKNN(config)), np.arange(USERS))
    rows = Y[:SHARED] / np.sqrt(Y[:SHARED].sum(axis=1, keepdims=True))
    expected = np.zeros_like(found)
    for user in range(USERS):
        near = tfidf(X[OWN]) @ tfidf(X[user : user + 1])[0]
        if user in range(2, 2 + SHARED):
            near[user - 2] = 0.0
        best = np.argsort(-near, kind="stable")[:3]
        weights = near[best] ** 2
        expected[user] = weights @ rows[best] / max(weights.sum(), 1e-12)
    # Users with no neighbour at all score nothing, and the training users' scores span everybody's.
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_joint_als_folds_in_against_the_source_items() -> None:
    model = fitted(JointALS(JointALSConfig(dims=(3,), confidences=(5.0,), regularisation=0.1)))
    fold = model.source_fold()
    assert fold is not None
    V = fold.item_vectors.double().numpy()
    for user in range(USERS):
        confidence = 1.0 + 4.0 * X[user]
        wanted = np.linalg.solve((V.T * confidence) @ V + 0.1 * np.eye(3), (V.T * confidence) @ X[user])
        np.testing.assert_allclose(model.source_vectors()[user], wanted, atol=1e-4)


def test_joint_als_learns_from_shared_users_alone() -> None:
    config = JointALSConfig(dims=(3,), confidences=(5.0,))
    other_source, other_target = X.copy(), Y.copy()
    other_source[0], other_target[-1] = 1.0 - X[0], 1.0 - Y[-1]
    changed = fitted(JointALS(config), problem(other_source, other_target, validation=False))
    same = fitted(JointALS(config), problem(validation=False))
    assert torch.equal(changed.head().item_vectors, same.head().item_vectors)


@pytest.mark.parametrize(("weighting", "neighbours"), [("cosine", 2), ("tfidf", 1), ("tfidf", 50)])
def test_itemknn_is_weighted_neighbours_and_popularity_below(weighting: Any, neighbours: int) -> None:
    config = ItemKNNConfig(
        weightings=(weighting,), target_exponents=(0.25,), neighbours=(neighbours,), idf_exponents=(1.0,)
    )
    own = X[OWN].sum(axis=1) + Y[:SHARED].sum(axis=1)
    weights = np.ones(SHARED) if weighting == "cosine" else np.log((ITEMS + OTHERS) / (1 + own)) ** 2
    weights = weights / weights.mean()
    counts = X[OWN].T @ (weights[:, None] * Y[:SHARED])
    lengths = weights @ X[OWN]
    near = np.divide(counts, np.sqrt(lengths)[:, None], out=np.zeros_like(counts), where=counts > 0)
    for item in range(OTHERS):
        near[np.argsort(-near[:, item], kind="stable")[neighbours:], item] = 0.0
    S = near / (weights @ Y[:SHARED]) ** 0.25
    expected = (X[NEW] * np.log((USERS + 1) / (X.sum(axis=0) + 1))) @ S
    found = scores(fitted(ItemKNN(config)), NEW)
    np.testing.assert_allclose(found, expected, atol=2e-6 * S.max())
    nothing = np.zeros_like(X)
    nothing[OWN] = X[OWN]
    empty = problem(nothing)
    unknown = scores(fitted(ItemKNN(config), empty), NEW, empty)
    assert (np.argsort(-unknown, axis=1, kind="stable") == np.argsort(-Y.sum(axis=0), kind="stable")).all()


def test_what_is_chosen_is_the_validation_users_choice() -> None:
    exact, tuned = (EASEConfig(strengths=strengths) for strengths in ((1e6,), (1e6, 1.0)))
    assert fitted(EASE(exact)).details()["strength"] == 1e6
    figures = {
        strength: fitted(EASE(EASEConfig(strengths=(strength,))))
        .fit(problem(), generator=torch.Generator().manual_seed(0))
        .epochs[0]["ndcg"]
        for strength in (1e6, 1.0)
    }
    assert fitted(EASE(tuned)).details()["strength"] == max(figures, key=lambda strength: figures[strength])
    assert fitted(EASE(tuned), problem(validation=False)).details()["strength"] == 1e6


@pytest.mark.parametrize(
    ("model", "instead"),
    [(EASE(EASEConfig(max_square=9)), "itemknn"), (DualRidge(DualRidgeConfig(max_square=9)), "ridge or diffcdr")],
)
def test_a_square_too_large_is_refused_with_its_size_and_what_to_use(model: TabularModel, instead: str) -> None:
    with pytest.raises(InputError, match=f"each of 10 shared users.*{model.name}.max_square=9.*use {instead}"):
        fitted(model)


def test_the_leading_directions_are_those_of_the_decomposition() -> None:
    rows = np.random.default_rng(3).standard_normal((30, 12)) * np.linspace(3.0, 0.2, 12)
    found = leading_directions(sparse.linalg.aslinearoperator(rows), 4, seed=1)
    expected = np.linalg.svd(rows)[2][:4].T
    np.testing.assert_allclose(found.T @ found, np.eye(4), atol=1e-10)
    assert np.square(rows @ found).sum() > 0.999 * np.square(rows @ expected).sum()
    assert leading_directions(sparse.linalg.aslinearoperator(rows), 99, seed=1).shape == (12, 12)
