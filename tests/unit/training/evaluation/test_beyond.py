"""Figures beyond accuracy against values worked by hand, and against the definitions taken word by word."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity

from tests.unit.training.rating_tables import rating_table
from training.evaluation.beyond import beyond_accuracy, gini
from training.rating_table import RatingTable


def ratings(pairs: list[tuple[int, int]], *, n_users: int, n_items: int) -> RatingTable:
    users, items = (torch.tensor(column, dtype=torch.int64) for column in zip(*sorted(pairs), strict=True))
    return rating_table(users, items, torch.ones(len(users)), n_users, n_items)


def test_hand_worked_values() -> None:
    # Items 0, 1, 2, 3 were rated by 4, 2, 1 and 0 of four users; the fifth user row has no rating at all.
    known = ratings([(0, 0), (1, 0), (2, 0), (3, 0), (0, 1), (1, 1), (0, 2)], n_users=5, n_items=4)
    figures = beyond_accuracy(np.array([[0, 1], [0, 2], [3, -1]]), known)
    assert figures.coverage == 1.0
    # Bits: item 0 rated by all: 0; item 1: 1; item 2: 2; item 3 counts as rated once: 2.
    assert figures.novelty == pytest.approx((0 + 1 + 0 + 2 + 2) / 5)
    # Exposures sorted: 1, 1, 1, 2: (-3 - 1 + 1 + 6) / (4 * 5).
    assert figures.gini == pytest.approx(3 / 20)
    # One item is the most popular hundredth, with two of five places.
    assert figures.head_share == pytest.approx(2 / 5)
    # cos(0, 1) = 2 / sqrt(4 * 2), cos(0, 2) = 1 / sqrt(4 * 1); a list of one item has no pair.
    assert figures.similarity == pytest.approx((2 / math.sqrt(8) + 1 / 2) / 2)


def test_one_list_for_everyone_and_a_list_of_its_own_for_each() -> None:
    known = ratings([(user, item) for user in range(4) for item in range(8)], n_users=4, n_items=8)
    same = beyond_accuracy(np.array([[0, 1]] * 4), known)
    assert (same.coverage, same.gini, same.similarity) == (0.25, pytest.approx(0.75), pytest.approx(1.0))
    own = beyond_accuracy(np.arange(8).reshape(4, 2), known)
    assert (own.coverage, own.gini) == (1.0, pytest.approx(0.0))


def test_lists_of_one_item_have_no_similarity() -> None:
    known = ratings([(0, 0), (1, 1)], n_users=2, n_items=2)
    assert beyond_accuracy(np.array([[0], [1]]), known).similarity == 0.0


@settings(max_examples=40)
@given(data=st.data())
def test_against_the_definitions(data: st.DataObject) -> None:
    n_users, n_items, n_lists = (data.draw(st.integers(2, high)) for high in (8, 120, 6))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    matrix = random.random((n_users, n_items)) < random.choice([0.05, 0.4])
    matrix[0, 0] = True
    k = data.draw(st.integers(2, min(6, n_items)))
    lists = random.permuted(np.tile(np.arange(n_items), (n_lists, 1)), axis=1)[:, :k]
    lists[0, 1:] = -1

    figures = beyond_accuracy(
        lists, ratings(list(zip(*np.nonzero(matrix), strict=True)), n_users=n_users, n_items=n_items)
    )

    places = [item for row in lists.tolist() for item in row if item >= 0]
    popularity, raters = matrix.sum(axis=0), int(matrix.any(axis=1).sum())
    exposure = [places.count(item) for item in range(n_items)]
    ranked = sorted(range(n_items), key=lambda item: (-popularity[item], item))
    head = ranked[: math.ceil(n_items / 100)]
    differences = sum(abs(one - other) for one in exposure for other in exposure)
    cosines = cosine_similarity(matrix.T.astype(float))
    alike = [np.mean([cosines[pair] for pair in combinations(row, 2)]) for row in lists[1:].tolist()]

    assert figures.coverage == pytest.approx(len(set(places)) / n_items)
    assert figures.novelty == pytest.approx(np.mean([-math.log2(max(1, popularity[item]) / raters) for item in places]))
    # The other definition: half the relative mean absolute difference.
    assert figures.gini == pytest.approx(differences / (2 * n_items * sum(exposure)))
    assert figures.head_share == pytest.approx(sum(item in head for item in places) / len(places))
    assert figures.similarity == pytest.approx(np.mean(alike), abs=1e-12)


def test_gini_of_one_item_alone() -> None:
    assert gini(np.array([0, 0, 7, 0, 0])) == pytest.approx(1 - 1 / 5)
