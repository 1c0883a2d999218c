"""Maximal marginal relevance against the definition taken word by word, and against itself in other company."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcdr.search import diversity
from diffcdr.search.diversity import diversify


def by_definition(rows: list[int], scores: list[float], vectors: np.ndarray, k: int, weight: float) -> list[int]:
    """One user's list, an item at a time; equal values to within rounding go to the better item."""
    pool = [(row, score) for row, score in zip(rows, scores, strict=True) if row >= 0]
    best, worst = (pool[0][1], pool[-1][1]) if pool else (0.0, 0.0)
    taken: list[int] = []

    def cosine(one: int, other: int) -> float:
        a, b = vectors[one].astype(float), vectors[other].astype(float)
        lengths = np.linalg.norm(a) * np.linalg.norm(b)
        return float(a @ b / lengths) if lengths else 0.0

    def value(row: int, score: float) -> float:
        relevance = (score - worst) / (best - worst) if best > worst else 0.0
        return (1 - weight) * relevance - (weight * max(cosine(row, each) for each in taken) if taken else 0.0)

    while len(taken) < min(k, len(pool)):
        left = [(row, score) for row, score in pool if row not in taken]
        values = [value(row, score) for row, score in left]
        taken.append(left[0][0] if not taken else left[int(np.argmax(np.round(values, 6)))][0])
    return taken


def pools(seed: int, users: int, items: int, width: int, dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(items, dim)).astype(np.float32)
    vectors[0] = 0.0
    rows = random.permuted(np.tile(np.arange(items), (users, 1)), axis=1)[:, :width].astype(np.int32)
    scores = -np.sort(-random.random((users, width)).astype(np.float32), axis=1)
    for user in range(users):  # some pools are short
        if random.random() < 0.3:
            rows[user, random.integers(0, width) :] = -1
    scores[rows < 0] = -np.inf
    return rows, scores, vectors


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), weight=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0]), k=st.integers(1, 6))
def test_against_the_definition(seed: int, weight: float, k: int) -> None:
    rows, scores, vectors = pools(seed, users=5, items=40, width=5 * k, dim=3)
    chosen, found = diversify(rows, scores, vectors, k=k, diversity=weight)
    for user in range(len(rows)):
        expected = by_definition(rows[user].tolist(), scores[user].tolist(), vectors, k, weight)
        assert [row for row in chosen[user].tolist() if row >= 0] == expected
        own = dict(zip(rows[user].tolist(), scores[user].tolist(), strict=True))
        assert found[user, : len(expected)].tolist() == [own[row] for row in expected]
        assert (chosen[user, len(expected) :] == -1).all() and np.isneginf(found[user, len(expected) :]).all()


def test_a_twin_gives_way_to_an_item_that_is_less_wanted_but_another() -> None:
    vectors = np.array([[1, 0], [2, 0], [0, 1], [1, 1]], dtype=np.float32)
    rows, scores = np.array([[0, 1, 2, 3]], dtype=np.int32), np.array([[10, 9, 6, 0]], dtype=np.float32)
    lists = {weight: diversify(rows, scores, vectors, k=3, diversity=weight)[0][0].tolist() for weight in (0.0, 0.5)}
    assert lists == {0.0: [0, 1, 2], 0.5: [0, 2, 1]}


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32))
def test_no_list_depends_on_the_batch(seed: int) -> None:
    rows, scores, vectors = pools(seed, users=9, items=200, width=100, dim=17)
    weights = np.random.default_rng(seed).random(9)
    together = diversify(rows, scores, vectors, k=20, diversity=weights)[0]
    order = np.random.default_rng(seed + 1).permutation(9)
    assert np.array_equal(
        diversify(rows[order], scores[order], vectors, k=20, diversity=weights[order])[0], together[order]
    )
    for user in range(9):
        one = slice(user, user + 1)
        alone = diversify(rows[one], scores[one], vectors, k=20, diversity=float(weights[user]))[0]
        assert np.array_equal(alone[0], together[user])


def test_large_batches_are_worked_through_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, scores, vectors = pools(3, users=30, items=60, width=25, dim=4)
    whole = diversify(rows, scores, vectors, k=5, diversity=0.4)
    monkeypatch.setattr(diversity, "WORKING_BYTES", 1)
    parts = diversify(rows, scores, vectors, k=5, diversity=0.4)
    assert all(np.array_equal(one, other) for one, other in zip(whole, parts, strict=True))


def test_equal_vectors_leave_the_order_as_it_is() -> None:
    rows = np.arange(15, dtype=np.int32)[None]
    scores = np.linspace(1, 0, 15, dtype=np.float32)[None]
    for vectors in (np.ones((15, 3), dtype=np.float32), np.zeros((15, 3), dtype=np.float32)):
        assert diversify(rows, scores, vectors, k=3, diversity=0.9)[0].tolist() == [[0, 1, 2]]


def test_no_users_and_no_items() -> None:
    vectors = np.ones((2, 2), dtype=np.float32)
    none = np.empty((0, 10), dtype=np.int32)
    assert diversify(none, none.astype(np.float32), vectors, k=2, diversity=0.5)[0].shape == (0, 2)
    empty = np.full((1, 10), -1, dtype=np.int32)
    chosen, found = diversify(empty, np.full((1, 10), -np.inf, dtype=np.float32), vectors, k=2, diversity=0.5)
    assert chosen.tolist() == [[-1, -1]] and np.isneginf(found).all()
