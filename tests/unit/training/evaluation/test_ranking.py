import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from training.evaluation.ranking import UserLists, ranking_metrics


def user_lists(*lists: list[int]) -> UserLists:
    users = np.repeat(np.arange(len(lists)), [len(items) for items in lists])
    items = np.array([item for one in lists for item in one], dtype=np.int64)
    return UserLists.build(users, items, n_users=len(lists))


def test_hand_worked_values() -> None:
    lists = np.array([[7, 3, 9], [1, 2, 4]])
    metrics = ranking_metrics(lists, user_lists([3, 9, 5, 6], [8]))
    # User 0: hits at ranks 2 and 3, four relevant, so that the ideal list has hits at ranks 1, 2 and 3.
    dcg = 1 / math.log2(3) + 1 / math.log2(4)
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert metrics.ndcg.tolist() == pytest.approx([dcg / ideal, 0.0])
    assert metrics.hr.tolist() == [1.0, 0.0]
    assert metrics.recall.tolist() == [0.5, 0.0]


def test_a_perfect_list_scores_one_even_where_there_are_fewer_relevant_items_than_places() -> None:
    metrics = ranking_metrics(np.array([[2, 0, 1]]), user_lists([0, 2]))
    assert metrics.ndcg.tolist() == metrics.recall.tolist() == [1.0]


def test_users_without_held_out_ratings_are_left_out_of_the_mean() -> None:
    metrics = ranking_metrics(np.array([[0, 1], [0, 1], [0, 1]]), user_lists([0], [], [1]))
    assert len(metrics.ndcg) == 2
    assert metrics.ndcg.tolist() == pytest.approx([1.0, 1 / math.log2(3)])


def test_padding_is_never_a_hit() -> None:
    metrics = ranking_metrics(np.array([[-1, -1]]), user_lists([0]))
    assert metrics.hr.tolist() == [0.0]
    # Item 0 of user 1 must not be found by user 0's -1 (nor the last item of user 0 by user 1's -1).
    metrics = ranking_metrics(np.array([[1, -1], [1, -1]]), user_lists([0, 9], [0]))
    assert metrics.hr.tolist() == [0.0, 0.0]


def test_repeated_pairs_count_once() -> None:
    built = UserLists.build(np.array([1, 0, 1, 1]), np.array([5, 2, 3, 5]), n_users=3)
    assert built.indptr.tolist() == [0, 1, 3, 3]
    assert built.items.tolist() == [2, 3, 5]


@settings(max_examples=60)
@given(data=st.data())
def test_metrics_against_scikit_learn_and_plain_sets(data: st.DataObject) -> None:
    n_users, n_items = data.draw(st.tuples(st.integers(1, 6), st.integers(2, 30)))
    k = data.draw(st.integers(1, n_items))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    scores = random.permuted(np.tile(np.arange(n_items, dtype=np.float64), (n_users, 1)), axis=1)
    relevant = random.random((n_users, n_items)) < 0.3
    relevant[np.arange(n_users), random.integers(0, n_items, n_users)] = True
    lists = np.argsort(-scores, axis=1)[:, :k]

    metrics = ranking_metrics(lists, UserLists.build(*np.nonzero(relevant), n_users=n_users))

    for user in range(n_users):
        truth = set(np.flatnonzero(relevant[user]).tolist())
        found = truth & set(lists[user].tolist())
        assert metrics.ndcg[user] == pytest.approx(ndcg_score(relevant[user, None], scores[user, None], k=k))
        assert metrics.hr[user] == float(bool(found))
        assert metrics.recall[user] == pytest.approx(len(found) / len(truth))
    assert (metrics.ndcg <= metrics.hr).all()
    assert (metrics.recall <= metrics.hr).all()
