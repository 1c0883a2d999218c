"""SLIM against the regression it is, by hand and by scikit-learn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.linear_model import ElasticNet

from tests.unit.training.models.interactions.test_scores import (
    ITEMS,
    NEW,
    OTHERS,
    OWN,
    SHARED,
    USERS,
    X,
    Y,
    fitted,
    problem,
    scores,
)
from training.models import sparse_regression
from training.models.interactions.slim import SLIM, SLIMConfig
from training.models.sparse_regression import Features, Regressions, descend

Floats = npt.NDArray[np.float64]
SOURCE, TARGET = sparse.csr_array(X[OWN]), sparse.csr_array(Y[:SHARED])


def nearest(features: Features, item: int, neighbours: int) -> list[int]:
    """The features of target ``item`` with the largest cosines above 0, of equals the first; columns of [X Y]."""
    A = np.hstack([X[OWN], Y[:SHARED]])
    shared = A.T @ Y[:SHARED, item]
    shared[ITEMS + item] = 0.0
    if features == "source":
        shared[ITEMS:] = 0.0
    cosines = shared / np.sqrt(np.maximum(A.sum(axis=0), 1.0))
    order = np.argsort(-cosines, kind="stable")[:neighbours]
    return sorted(int(column) for column in order if cosines[column] > 0)


def by_library(features: Features, *, neighbours: int, l1: float, l2: float) -> Floats:
    """The coefficients [m + n, n] by scikit-learn, whose loss is a mean over rows."""
    A = np.hstack([X[OWN], Y[:SHARED]])
    found = np.zeros((ITEMS + OTHERS, OTHERS))
    for item in range(OTHERS):
        columns = nearest(features, item, neighbours)
        if not columns:
            continue
        net = ElasticNet(
            alpha=(l1 + l2) / SHARED,
            l1_ratio=l1 / (l1 + l2),
            positive=True,
            fit_intercept=False,
            tol=1e-12,
            max_iter=100_000,
        )
        found[columns, item] = net.fit(A[:, columns], Y[:SHARED, item]).coef_
    return found


def test_one_regression_by_hand() -> None:
    """Four users: three have the source item, the target item is two of theirs.

    The Gram matrix is 3, the product 2: with l1 = 0.5 and l2 = 2 the coefficient is (2 - 0.5) / (3 + 2) = 0.3.
    """
    source, target = (sparse.csr_array(np.array(column)[:, None]) for column in ([1.0, 1, 1, 0], [1.0, 1, 0, 0]))
    found = Regressions.of(source, target, features="source", neighbours=1).solve(l1=0.5, l2=2.0)
    np.testing.assert_allclose(found.toarray(), [[0.3]], rtol=1e-12)
    # A penalty of as many users as share both items leaves nothing.
    assert Regressions.of(source, target, features="source", neighbours=1).solve(l1=2.0, l2=2.0).nnz == 0


@pytest.mark.parametrize("features", ["source", "both"])
@pytest.mark.parametrize(("neighbours", "l1", "l2"), [(3, 0.3, 0.5), (50, 0.05, 2.0)])
def test_it_is_the_elastic_net_of_the_nearest_features(
    features: Features, neighbours: int, l1: float, l2: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse_regression, "TOLERANCE", 1e-13)
    monkeypatch.setattr(sparse_regression, "ITEMS_AT_ONCE", 3)
    expected = by_library(features, neighbours=neighbours, l1=l1, l2=l2)
    assert np.count_nonzero(expected) > OTHERS
    regressions = Regressions.of(SOURCE, TARGET, features=features, neighbours=neighbours)
    for large in (1e3, l1):  # what a penalty leaves out is there for the next
        found = regressions.solve(l1=large, l2=l2).toarray()
    assert not expected[len(found) :].any()
    np.testing.assert_allclose(found, expected[: len(found)], atol=1e-8)


def test_served_are_the_rows_of_source_items_and_popularity_below() -> None:
    config = SLIMConfig(features=("both",), neighbours=(4,), l1=(0.1,), l2=(1.0,), idf_exponents=(1.0,))
    S = by_library("both", neighbours=4, l1=0.1, l2=1.0)[:ITEMS]
    weighted = X[NEW] * np.log((USERS + 1) / (X.sum(axis=0) + 1))
    np.testing.assert_allclose(scores(fitted(SLIM(config)), NEW), weighted @ S, atol=1e-3 * S.max())
    nothing = np.zeros_like(X)
    nothing[OWN] = X[OWN]
    empty = problem(nothing)
    unknown = scores(fitted(SLIM(config), empty), NEW, empty)
    assert (np.argsort(-unknown, axis=1, kind="stable") == np.argsort(-Y.sum(axis=0), kind="stable")).all()


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_a_regression_depends_on_no_other(seed: int) -> None:
    random = np.random.default_rng(seed)
    A = (random.random((12, 5, 4)) < 0.5).astype(np.float64)  # users, regressions, features
    y = (random.random((12, 5)) < 0.5).astype(np.float64)
    grams, shared = np.einsum("ubk,ubl->kbl", A, A), np.einsum("ubk,ub->bk", A, y)
    together = descend(grams, shared, l1=0.2, l2=0.7)
    for row in range(5):
        alone = descend(grams[:, row : row + 1], shared[row : row + 1], l1=0.2, l2=0.7)
        assert np.array_equal(alone[0], together[row])


def test_a_target_without_users_in_common_has_no_coefficients() -> None:
    unrated = sparse.csr_array((SHARED, OTHERS))
    assert Regressions.of(SOURCE, unrated, features="both", neighbours=5).solve(l1=0.1, l2=1.0).nnz == 0
