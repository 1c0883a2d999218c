"""Products without rounding against rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcdr.search.exact import STEP, to_steps


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), dim=st.sampled_from([1, 2, 7, 33, 200]), spread=st.sampled_from([0.0, 3.0]))
def test_products_are_exact_in_any_order(seed: int, dim: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    drawn = rng.standard_normal((5, dim)) * np.exp(spread * rng.standard_normal((5, dim)))
    unit = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    vectors = to_steps(unit)
    assert np.abs(vectors - unit).max() <= STEP / 2
    products = vectors @ vectors.T
    order = rng.permutation(dim)
    assert (vectors[:, order] @ vectors[:, order].T).tolist() == products.tolist()
    for i, first in enumerate(vectors.tolist()):
        for j, second in enumerate(vectors.tolist()):
            exact = sum(Fraction(a) * Fraction(b) for a, b in zip(first, second, strict=True))
            assert Fraction(float(products[i, j])) == exact
