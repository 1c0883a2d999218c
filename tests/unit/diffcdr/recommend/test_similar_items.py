"""Items like an item: as a plain computation has it, in the same order whatever else is there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffcdr.recommend import similar_items
from diffcdr.recommend.similar_items import SimilarItems


def tables(seed: int, items: int, dim: int) -> np.ndarray:
    """Few different values, so that many items are equally alike, and some vectors are zero."""
    return np.random.default_rng(seed).integers(-1, 2, size=(items, dim)).astype(np.float32)


@given(seed=st.integers(0, 2**32 - 1), items=st.integers(1, 40), dim=st.integers(1, 5), k=st.integers(0, 50))
def test_they_are_those_of_the_definition(seed: int, items: int, dim: int, k: int) -> None:
    vectors = tables(seed, items, dim)
    found = SimilarItems(vectors)
    for row in range(items):
        rows, cosines = found.nearest(row, k)
        exact = vectors.astype(np.float64)
        lengths = np.linalg.norm(exact, axis=1)
        others = [one for one in range(items) if one != row and lengths[one] and lengths[row]]
        likeness = {one: float(exact[one] @ exact[row] / lengths[one] / lengths[row]) for one in others}
        assert rows.tolist() == sorted(others, key=lambda one: (-round(likeness[one], 9), one))[:k]
        np.testing.assert_allclose(cosines, [likeness[one] for one in rows.tolist()], atol=1e-12)


@pytest.mark.parametrize("block", [1, 7, 100])
def test_the_size_of_a_block_does_not_show(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(3).normal(size=(50, 9)).astype(np.float32)
    whole = [SimilarItems(vectors).nearest(row, 10) for row in range(5)]
    monkeypatch.setattr(similar_items, "BLOCK_ROWS", block)
    for row, (rows, cosines) in enumerate(whole):
        again = SimilarItems(vectors).nearest(row, 10)
        assert again[0].tolist() == rows.tolist() and again[1].tobytes() == cosines.tobytes()


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1e30])
def test_lengths_do_not_matter_however_far_from_one(scale: float) -> None:
    vectors = np.random.default_rng(4).normal(size=(20, 4)).astype(np.float32)
    scaled = vectors.copy()
    scaled[::2] *= np.float32(scale)
    rows, cosines = SimilarItems(scaled).nearest(0, 19)
    expected, likeness = SimilarItems(vectors).nearest(0, 19)
    # Below the smallest normal number float32 itself has few digits left.
    np.testing.assert_allclose(np.sort(cosines), np.sort(likeness), atol=1e-5)
    assert rows[0] == expected[0]
