import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from training.evaluation import ranking
from training.evaluation.ranking import UserLists, ranking_metrics, top_items


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


def slow_lists(
    users: np.ndarray, items: np.ndarray, biases: np.ndarray, *, k: int, seen: UserLists | None
) -> list[list[int]]:
    lists = []
    for row, vector in enumerate(users):
        hidden = set() if seen is None else set(seen.items[seen.indptr[row] : seen.indptr[row + 1]].tolist())
        scored = [(-(biases[j] + vector @ items[j]), j) for j in range(len(items)) if j not in hidden]
        best = [j for _, j in sorted(scored)[:k]]
        lists.append(best + [-1] * (k - len(best)))
    return lists


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_top_items_against_a_slow_oracle(data: st.DataObject) -> None:
    """Small whole numbers make every sum exact and ties frequent."""
    n_users, n_items, dim = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 12), st.integers(1, 3)))
    k = data.draw(st.integers(1, 15))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    users = random.integers(-2, 3, (n_users, dim)).astype(np.float32)
    items = random.integers(-2, 3, (n_items, dim)).astype(np.float32)
    biases = random.integers(-2, 3, n_items).astype(np.float32)
    mask = random.random((n_users, n_items)) < data.draw(st.sampled_from([0.0, 0.3, 1.0]))
    seen = UserLists.build(*np.nonzero(mask), n_users=n_users)
    lists = top_items(users, items, biases, k=k, seen=seen)
    assert lists.tolist() == slow_lists(users, items, biases, k=k, seen=seen)


def test_lists_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    users, items, biases = random.normal(size=(37, 8)), random.normal(size=(501, 8)), random.normal(size=501)
    seen = UserLists.build(random.integers(0, 37, 900), random.integers(0, 501, 900), n_users=37)
    whole = top_items(users, items, biases, k=20, seen=seen)
    for users_at_once in (1, 2, 5, 36):
        monkeypatch.setattr(ranking, "BLOCK_BYTES", 8 * 501 * users_at_once)
        assert np.array_equal(top_items(users, items, biases, k=20, seen=seen), whole)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_metrics_against_scikit_learn_and_plain_sets(data: st.DataObject) -> None:
    n_users, n_items = data.draw(st.tuples(st.integers(1, 6), st.integers(2, 30)))
    k = data.draw(st.integers(1, n_items))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    scores = random.permuted(np.tile(np.arange(n_items, dtype=np.float64), (n_users, 1)), axis=1)
    relevant = random.random((n_users, n_items)) < 0.3
    relevant[np.arange(n_users), random.integers(0, n_items, n_users)] = True
    lists = top_items(scores, np.eye(n_items), np.zeros(n_items), k=k)

    metrics = ranking_metrics(lists, UserLists.build(*np.nonzero(relevant), n_users=n_users))

    for user in range(n_users):
        truth = set(np.flatnonzero(relevant[user]).tolist())
        found = truth & set(lists[user].tolist())
        assert metrics.ndcg[user] == pytest.approx(ndcg_score(relevant[user, None], scores[user, None], k=k))
        assert metrics.hr[user] == float(bool(found))
        assert metrics.recall[user] == pytest.approx(len(found) / len(truth))
    assert (metrics.ndcg <= metrics.hr).all()
    assert (metrics.recall <= metrics.hr).all()
