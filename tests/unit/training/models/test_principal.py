from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from training.models.principal import principal_directions


@pytest.mark.parametrize("dim", [1, 3])
def test_they_are_the_leading_right_singular_vectors_up_to_sign(dim: int) -> None:
    generator = np.random.default_rng(0)
    left, right = (np.linalg.qr(generator.normal(size=(size, 6)))[0] for size in (60, 40))
    rows = (left * [32.0, 16.0, 8.0, 4.0, 2.0, 1.0]) @ right.T
    found = principal_directions(sparse.csr_array(rows), dim=dim, seed=0)
    assert found.shape == (40, dim)
    np.testing.assert_allclose(np.abs(found.T @ right[:, :dim]), np.eye(dim), atol=1e-6)


@pytest.mark.parametrize(("shape", "expected"), [((5, 9), 4), ((9, 5), 4), ((1, 3), 1)])
def test_a_small_matrix_has_fewer(shape: tuple[int, int], expected: int) -> None:
    rows = sparse.csr_array(np.random.default_rng(0).random(shape))
    assert principal_directions(rows, dim=64, seed=0).shape == (shape[1], expected)
