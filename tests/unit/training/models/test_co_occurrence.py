"""Co-occurrences by hand, and against sums over users."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from training.models.co_occurrence import CoOccurrences, keep_largest


def test_a_table_by_hand() -> None:
    """Three users, all of weight 1: source items 0 and 1, target items 0 and 1."""
    source = sparse.csr_array(np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))
    target = sparse.csr_array(np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))
    counts = CoOccurrences.of(source, target, "cosine")
    root = 1 / np.sqrt(2)
    np.testing.assert_allclose(counts.nearest(0.5, 0.0, 2).toarray(), [[2 * root, root], [root, root]], rtol=1e-6)
    np.testing.assert_allclose(counts.nearest(0.5, 0.5, 1).toarray(), [[1.0, 0.5], [0.0, 0.0]], rtol=1e-6)


@pytest.mark.parametrize("weighting", ["tfidf", "bm25"])
def test_users_with_few_items_say_more(weighting: str) -> None:
    source = sparse.csr_array(np.array([[1.0, 0, 0, 0, 0, 0], [0, 1.0, 1.0, 1.0, 0, 0]]))
    target = sparse.csr_array(np.array([[1.0, 0, 0], [0, 1.0, 0]]))
    table = CoOccurrences.of(source, target, weighting).nearest(0.0, 0.0, 6).toarray()  # type: ignore[arg-type]
    assert table[0, 0] > table[1, 1] > 0


@given(seed=st.integers(0, 100), count=st.integers(1, 5))
def test_the_largest_of_each_row_stay(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    dense = random.integers(0, 4, size=(6, 8)).astype(np.float64)
    kept = keep_largest(sparse.csr_array(dense), count).toarray()
    for row, own in zip(dense, kept, strict=True):
        order = np.argsort(-row, kind="stable")[:count]
        expected = np.zeros_like(row)
        expected[order] = row[order]
        assert np.array_equal(own, expected)
