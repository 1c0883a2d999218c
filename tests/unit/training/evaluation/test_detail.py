"""Where a model is good: every figure by hand, and their agreement with the figures of all users together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.training.rating_tables import rating_table
from training.evaluation.detail import (
    AT,
    CUTOFFS,
    LONGEST,
    AtCutoff,
    ItemGroup,
    UserGroup,
    calibration_bins,
    detail,
    popularity_fifths,
    tenths,
)
from training.evaluation.evaluate import evaluate_vectors
from training.evaluation.ranking import UserLists, ranking_metrics
from training.problem import Objective, ScoringHead
from training.rating_table import RatingTable

ITEMS = 120


def known(counts: list[int]) -> RatingTable:
    """Item j rated by the first ``counts[j]`` users."""
    pairs = sorted((user, item) for item, count in enumerate(counts) for user in range(count))
    users, items = (torch.tensor(column) for column in zip(*pairs, strict=True))
    return rating_table(users, items, torch.full((len(pairs),), 4.0), max(counts), len(counts))


def lists_of(*rows: list[int]) -> np.ndarray:
    found = np.full((len(rows), LONGEST), -1)
    for row, items in enumerate(rows):
        found[row, : len(items)] = items
    return found


def test_by_hand() -> None:
    """Three users: the first two have a relevant item at ranks 2 and 11, the third has nothing to be judged by."""
    lists = lists_of([5, 0, 6, 7], [*range(10, 20), 1], [2, 3])
    relevant = UserLists.build(np.array([0, 1, 1]), np.array([0, 1, 9]), n_users=3)
    table = known([5, 3, 1, 1] + [0] * 16)
    found = detail(lists, relevant, lengths=np.array([7, 3, 1]), known=table)
    ten, twenty, *_ = found.cutoffs
    first = 1 / np.log2(3)
    assert ten == AtCutoff(10, first / 2, 0.5, 0.5, 0.25, 14 / 20)
    second = (1 / np.log2(12)) / (1 + first)
    assert twenty == AtCutoff(20, (first + second) / 2, 1.0, 0.75, (1 / 2 + 1 / 11) / 2, 15 / 20)
    assert found.users == (
        UserGroup(1, 3, 3, 1, second, 1.0, 0.5),
        UserGroup(6, 7, 7, 1, first, 1.0, 1.0),
    )
    # Ten ratings in fifths of two: item 0 has the first three, 1 the next, 2 and 3 one each.
    assert found.items == (
        ItemGroup(1, 1, 1, 1.0, 1 / 15),
        ItemGroup(3, 1, 1, 1.0, 1 / 15),
        ItemGroup(5, 2, 0, None, 0.0),
        ItemGroup(0, 16, 1, 0.0, 13 / 15),
    )
    assert found.calibration == ()


def test_calibration_bins_are_means_of_tenths_and_equal_predictions_stay_together() -> None:
    predicted, actual = np.arange(20) / 4, np.arange(20) / 2
    bins = calibration_bins(predicted, actual)
    assert [(each.place, each.ratings) for each in bins] == [(place, 2) for place in range(1, 11)]
    assert bins[3].predicted == (6 + 7) / 2 / 4
    assert bins[3].actual == (6 + 7) / 2 / 2
    (only,) = calibration_bins(np.full(7, 3.5), np.array([1.0, 2, 3, 4, 5, 5, 5]))
    assert (only.ratings, only.predicted, only.actual) == (7, 3.5, 25 / 7)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40))
def test_tenths_keep_order_and_ties_whatever_the_order_of_rows(values: list[int]) -> None:
    places = tenths(np.array(values))
    assert places.min() == 0
    assert places.max() <= 9
    by_value = dict(zip(values, places.tolist(), strict=True))
    assert [by_value[value] for value in values] == places.tolist()
    assert sorted(by_value.values()) == [by_value[value] for value in sorted(by_value)]
    assert tenths(np.arange(50)).tolist() == [number // 5 for number in range(50)]


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_groups_together_are_all_users_and_all_ratings(seed: int) -> None:
    random = np.random.default_rng(seed)
    users = 23
    lists = np.array([random.permutation(ITEMS)[:LONGEST] for _ in range(users)])
    held = random.random((users, ITEMS)) < 0.03
    held[0, 0] = True
    relevant = UserLists.build(*np.nonzero(held), n_users=users)
    table = known([int(each) for each in random.integers(0, 9, ITEMS)] + [1])
    found = detail(lists, relevant, lengths=random.integers(1, 30, users), known=table)
    whole = ranking_metrics(lists[:, :AT], relevant)
    at = next(each for each in found.cutoffs if each.k == AT)
    assert (at.ndcg, at.hr, at.recall) == (whole.ndcg.mean(), whole.hr.mean(), whole.recall.mean())
    assert np.average([g.ndcg for g in found.users], weights=[g.users for g in found.users]) == pytest.approx(at.ndcg)
    assert sum(group.held_out for group in found.items) == held.sum()
    assert sum(group.listed for group in found.items) == pytest.approx(1.0)
    hits = sum(group.held_out * (group.found or 0.0) for group in found.items)
    assert hits == pytest.approx(sum(len(set(lists[u, :AT]) & set(np.flatnonzero(held[u]))) for u in range(users)))
    for smaller, larger in zip(found.cutoffs, found.cutoffs[1:], strict=False):
        assert smaller.hr <= larger.hr
        assert smaller.recall <= larger.recall
        assert smaller.mrr <= larger.mrr <= larger.hr
        assert smaller.coverage <= larger.coverage


def test_fifths_hold_a_fifth_of_the_ratings_each() -> None:
    table = known([10, 2, 0, 4, 4])
    assert popularity_fifths(table).tolist() == [1, 5, 0, 3, 4]


@pytest.mark.parametrize("objective", ["rating", "ranking"])
def test_one_search_gives_it_and_leaves_the_other_figures_as_they_are(objective: Objective) -> None:
    random = np.random.default_rng(2)
    head = ScoringHead(
        torch.from_numpy(random.random((ITEMS, 4), dtype=np.float32)), torch.zeros(ITEMS), 3.0, objective
    )
    held = random.random((9, ITEMS)) < 0.05
    held[0, 0] = True
    users, items = (torch.from_numpy(each) for each in np.nonzero(held))
    ratings = rating_table(users, items, torch.full((len(users),), 4.0), 9, ITEMS)
    vectors = random.standard_normal((9, 4)).astype(np.float32)
    table = known([3, 1] * (ITEMS // 2))
    plain, detailed = (
        evaluate_vectors(vectors, head, ratings, name="it", rating_range=(1.0, 5.0), known=table, lengths=lengths)
        for lengths in (None, np.arange(1, 10))
    )
    assert plain.detail is None
    assert detailed.detail is not None
    assert plain.as_dict() == detailed.as_dict()
    twenty = next(each for each in detailed.detail.cutoffs if each.k == AT)
    assert (twenty.ndcg, twenty.coverage) == (plain.ndcg, plain.beyond and plain.beyond.coverage)
    assert [each.k for each in detailed.detail.cutoffs] == list(CUTOFFS)
    assert bool(detailed.detail.calibration) == (objective == "rating")
    assert sum(each.ratings for each in detailed.detail.calibration) == (len(ratings) if objective == "rating" else 0)
