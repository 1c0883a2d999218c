"""History features by hand and by their properties."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import sparse

from training.models.history import HistoryMap

RNG = np.random.default_rng(9)
OWN = sparse.csr_array((RNG.random((30, 12)) < 0.3).astype(np.float32))
VECTORS = RNG.standard_normal((30, 4))


def fit(dim: int = 5, *, own: sparse.csr_array = OWN) -> HistoryMap:
    return HistoryMap.fit(own, dim=dim, vector_weight=0.7, seed=1)


def unit_rows(own: sparse.csr_array, idf: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    rows = (own.toarray() * idf).astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


def test_rare_items_weigh_more_by_the_formula() -> None:
    holders = OWN.toarray().sum(axis=0)
    np.testing.assert_allclose(fit().idf, np.log(31 / (holders + 1)), rtol=1e-6)


def test_with_all_directions_features_keep_every_inner_product() -> None:
    """A full basis only rotates: cosines of features are cosines of tf-idf rows."""
    history = fit(11, own=OWN[:, :11])
    rows = unit_rows(OWN[:, :11], history.idf)
    history = HistoryMap(history.idf, np.linalg.svd(rows)[2].T.astype(np.float32), 0.7)
    features = history.conditions(OWN[:, :11], VECTORS)[:, :11]
    np.testing.assert_allclose(features @ features.T, rows @ rows.T, atol=1e-6)


def test_the_basis_is_orthonormal_and_leads() -> None:
    history = fit()
    np.testing.assert_allclose(history.basis.T @ history.basis, np.eye(5), atol=1e-5)
    rows = unit_rows(OWN, history.idf)
    best = np.square(np.linalg.svd(rows, compute_uv=False)[:5]).sum()
    assert np.square(rows @ history.basis).sum() > 0.98 * best


def test_lengths_of_both_parts() -> None:
    conditions = fit().conditions(OWN, VECTORS)
    assert conditions.dtype == np.float32
    assert (np.linalg.norm(conditions[:, :5], axis=1) <= 1 + 1e-6).all()
    np.testing.assert_allclose(np.linalg.norm(conditions[:, 5:], axis=1), 0.7, rtol=1e-6)


def test_a_user_with_nothing_has_a_condition_of_zeros() -> None:
    nothing = sparse.csr_array((1, 12), dtype=np.float32)
    assert not fit().conditions(nothing, np.zeros((1, 4))).any()


@pytest.mark.parametrize(("shape", "dim"), [((30, 3), 2), ((4, 12), 3), ((1, 1), 1)])
def test_small_domains_have_fewer_features(shape: tuple[int, int], dim: int) -> None:
    history = fit(256, own=sparse.csr_array(np.ones(shape, dtype=np.float32)))
    assert history.dim == dim
    assert np.isfinite(history.basis).all()
