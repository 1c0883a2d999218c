"""Fold-in against its own optimality condition: at the answer, the gradient of what it minimises is zero."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffcdr.bundle.ids import IdTable
from diffcdr.bundle.manifest import FoldInSpec, HistorySpec
from diffcdr.bundle.reader import SourceItems
from diffcdr.errors import BundleError
from diffcdr.recommend.fold_in import FoldIn

RNG = np.random.default_rng(8)
ITEMS = SourceItems(
    ids=IdTable.build([f"s{row:02}" for row in range(30)]),
    vectors=RNG.standard_normal((30, 4)).astype(np.float32),
    biases=RNG.standard_normal(30).astype(np.float32),
    titles=None,
)
REGULARISATION = (0.5, 1.0, 2.0, 0.1)
histories = st.lists(
    st.tuples(st.integers(0, 29).map(lambda row: f"s{row:02}"), st.floats(0.5, 5.0)), min_size=1, max_size=40
)


def fold_in(kind: Literal["ridge", "als"], *, regularisation: tuple[float, ...] = REGULARISATION) -> FoldIn:
    return FoldIn(FoldInSpec(kind=kind, offset=3.0, regularisation=regularisation, confidence=3.0), ITEMS)


def gradient(kind: str, history: list[tuple[str, float]], u: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    ratings = dict(history)
    total = np.array(REGULARISATION) * u
    for row in range(30):
        v, bias = ITEMS.vectors[row].astype(np.float64), float(ITEMS.biases[row])
        rating = ratings.get(ITEMS.ids[row])
        if kind == "ridge" and rating is not None:
            total -= (rating - 3.0 - bias - v @ u) * v
        if kind == "als":
            confidence, preference = (3.0, 1.0) if rating is not None else (1.0, 0.0)
            total -= confidence * (preference - v @ u) * v
    return total


@given(histories, st.sampled_from(["ridge", "als"]))
def test_the_gradient_vanishes_whatever_the_order(
    history: list[tuple[str, float]], kind: Literal["ridge", "als"]
) -> None:
    vector = fold_in(kind)(history)
    assert vector is not None
    assert vector.dtype == np.float32
    scale = 1 + np.abs(gradient(kind, history, np.zeros(4))).max()
    np.testing.assert_allclose(gradient(kind, history, vector.astype(np.float64)) / scale, 0, atol=1e-5)
    once = list(dict(history).items())
    shuffled = fold_in(kind)(once[::-1])
    assert shuffled is not None
    assert shuffled.tobytes() == vector.tobytes()


def test_one_rating_by_hand() -> None:
    """(v v' + 2 I) u = (r - offset - b) v with v = (1, 0): u = (r - offset - b) / 3."""
    items = SourceItems(IdTable.build(["s"]), np.array([[1, 0]], dtype=np.float32), np.array([0.5], np.float32), None)
    vector = FoldIn(FoldInSpec(kind="ridge", offset=3.0, regularisation=(2.0,)), items)([("s", 5.0)])
    assert vector is not None
    np.testing.assert_allclose(vector, [0.5, 0.0], rtol=1e-6, atol=1e-7)


def test_without_regularisation_the_shortest_solution() -> None:
    vector = fold_in("ridge", regularisation=(0.0,))([("s03", 5.0)])
    assert vector is not None
    v = ITEMS.vectors[3].astype(np.float64)
    wanted = (5.0 - 3.0 - float(ITEMS.biases[3])) * v / (v @ v)
    np.testing.assert_allclose(vector, wanted, rtol=1e-5)


@pytest.mark.parametrize("rating", [float("nan"), float("inf"), 1e300, 1e39])
def test_ratings_that_float32_cannot_hold_are_left_out(rating: float) -> None:
    history = [("s02", 4.0)]
    assert fold_in("ridge")([("s01", rating)]) is None
    with_another, alone = fold_in("ridge")([("s01", rating), *history]), fold_in("ridge")(history)
    assert with_another is not None
    assert alone is not None
    assert with_another.tobytes() == alone.tobytes()


@pytest.mark.parametrize("history", [[], [("nobody", 5.0)]])
def test_nothing_usable(history: list[tuple[str, float]]) -> None:
    assert fold_in("ridge")(history) is None


@given(
    st.sampled_from([1.0, 1e19, 1e37]),
    st.sampled_from(["ridge", "als"]),
    st.lists(st.sampled_from([-3.4e38, -1.0, 1e-30, 4.0, 1e20, 3.4e38]), min_size=1, max_size=30),
)
def test_nothing_overflows_on_the_way_to_a_vector(
    scale: float, kind: Literal["ridge", "als"], ratings: list[float]
) -> None:
    """Warnings are errors here. What float32 cannot hold at the end is no vector."""
    items = replace(ITEMS, vectors=ITEMS.vectors * np.float32(scale), biases=ITEMS.biases * np.float32(scale))
    vector = FoldIn(FoldInSpec(kind=kind, offset=3.0, regularisation=REGULARISATION, confidence=3.0), items)(
        [(f"s{row:02}", rating) for row, rating in enumerate(ratings)]
    )
    assert vector is None or np.isfinite(vector).all()


def test_the_last_rating_of_an_item_counts() -> None:
    last, both = fold_in("ridge")([("s01", 2.0)]), fold_in("ridge")([("s01", 5.0), ("s01", 2.0)])
    assert last is not None
    assert both is not None
    assert last.tobytes() == both.tobytes()


def test_a_specification_of_another_size_is_refused() -> None:
    with pytest.raises(BundleError, match="2 values for 4 dimensions"):
        fold_in("ridge", regularisation=(1.0, 1.0))


def test_history_features_by_hand() -> None:
    """Items with idf 3 and 4 and basis rows (1, 0) and (0, 1): features (3, 4) / 5; the base vector at length 0.7."""
    items = SourceItems(
        ids=IdTable.build(["a", "b", "c"]),
        vectors=np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32),
        biases=np.zeros(3, dtype=np.float32),
        titles=None,
        idf=np.array([3, 4, 9], dtype=np.float32),
        basis=np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32),
    )
    spec = FoldInSpec(kind="als", regularisation=(1.0,), confidence=10.0, history=HistorySpec(dim=2, vector_weight=0.7))
    vector = FoldIn(spec, items)([("a", 1.0), ("b", 5.0)])
    assert vector is not None
    np.testing.assert_allclose(vector, [0.6, 0.8, 0.7, 0.0], rtol=1e-6, atol=1e-7)


def test_an_implicit_history_counts_which_items_and_not_how_they_were_rated() -> None:
    low, high = fold_in("als")([("s01", 1.0), ("s02", 1.0)]), fold_in("als")([("s02", 5.0), ("s01", 4.0)])
    assert low is not None
    assert high is not None
    assert low.tobytes() == high.tobytes()


def test_a_history_specification_without_its_tables_is_refused() -> None:
    spec = FoldInSpec(kind="als", regularisation=(1.0,), history=HistorySpec(dim=2, vector_weight=1.0))
    with pytest.raises(BundleError, match="idf"):
        FoldIn(spec, ITEMS)
