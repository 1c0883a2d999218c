"""Ranking over all target items: NDCG@k, HR@k and Recall@k, per user.

The candidates are *all* target items less those the user has in training (none for a cold-start user); nothing
is sampled. Relevant is every held-out rating of the user, whatever its value (binary gain). With
``hit(i)`` = 1 where the item at rank i of the user's list (i = 1..k) is relevant, and R relevant items:

    NDCG@k   = sum_i hit(i) / log2(i + 1)  over  sum_{i <= min(k, R)} 1 / log2(i + 1)
    HR@k     = 1 if any hit(i), else 0
    Recall@k = sum_i hit(i) / R            (by R, not by min(k, R): below 1 for users with more than k)

Users without held-out ratings are left out; the others weigh the same, whatever their number of ratings. Hence
NDCG@k <= HR@k and Recall@k <= HR@k, for each user and on the mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating]

BLOCK_BYTES = 64 << 20
"""Scores held at once: users are ranked in blocks of this many bytes."""


@dataclass(frozen=True)
class UserLists:
    """A list of items per user, as CSR: those of user u are ``items[indptr[u]:indptr[u + 1]]``, each once."""

    indptr: IntArray
    items: IntArray

    @classmethod
    def build(cls, users: IntArray, items: IntArray, *, n_users: int) -> UserLists:
        """From pairs [R] in any order; repeated pairs count once."""
        order = np.lexsort((items, users))
        users, items = users[order], items[order]
        first = np.ones(len(users), dtype=bool)
        first[1:] = (users[1:] != users[:-1]) | (items[1:] != items[:-1])
        indptr = np.zeros(n_users + 1, dtype=np.int64)
        np.cumsum(np.bincount(users[first], minlength=n_users), out=indptr[1:])
        return cls(indptr, items[first])

    def counts(self) -> IntArray:
        """Items per user, int64 [U]."""
        return np.diff(self.indptr)


@dataclass(frozen=True)
class RankingMetrics:
    """One figure per user who has held-out ratings: float64 [U'] each, in user order; for means and paired tests."""

    ndcg: npt.NDArray[np.float64]
    hr: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]


def ranking_metrics(lists: IntArray, relevant: UserLists) -> RankingMetrics:
    """Measure ranked ``lists`` [U, k] (item rows, best first, -1 after the last) against ``relevant`` (U users)."""
    counts = relevant.counts()
    hits = _hits(lists, relevant)[counts > 0].astype(np.float64)
    counts = counts[counts > 0]
    k = lists.shape[1]
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discounts)[np.minimum(counts, k) - 1]
    # A perfect list's two sums add in different orders; it scores 1 exactly all the same.
    ndcg = np.minimum(hits @ discounts / ideal, 1.0)
    found = hits.sum(axis=1)
    return RankingMetrics(ndcg=ndcg, hr=(found > 0).astype(np.float64), recall=found / counts)


def top_items(
    user_vectors: FloatArray,
    item_vectors: FloatArray,
    item_biases: FloatArray,
    *,
    k: int,
    seen: UserLists | None = None,
) -> IntArray:
    """The ``k`` best items per user by ``bias + vector . user``, never one that is ``seen``; equal scores by item row.

    Scores are summed in float64 and compared in float32, so that a list does not hang on the order of summation.

    Args:
        user_vectors: [U, d].
        item_vectors: [m, d].
        item_biases: [m].
        k: length of the lists.
        seen: items not to be shown, per user.

    Returns:
        int64 [U, k], best first; -1 where fewer than ``k`` items may be shown.
    """
    n_users, n_items = len(user_vectors), len(item_vectors)
    lists = np.full((n_users, k), -1, dtype=np.int64)
    width = min(k, n_items)
    if not width:
        return lists
    matrix = item_vectors.astype(np.float64).T
    for block in _blocks(n_users, n_items):
        scores = user_vectors[block].astype(np.float64) @ matrix
        scores += item_biases
        ranked = scores.astype(np.float32)
        if seen is not None:
            start, stop = seen.indptr[block.start], seen.indptr[block.stop]
            owners = np.repeat(np.arange(block.stop - block.start), seen.counts()[block])
            ranked[owners, seen.items[start:stop]] = -np.inf
        lists[block, :width] = _top_columns(ranked, width)
    return lists


def _blocks(n_users: int, n_items: int) -> Iterator[slice]:
    step = max(1, BLOCK_BYTES // (8 * n_items))
    for start in range(0, n_users, step):
        yield slice(start, min(start + step, n_users))


def _top_columns(scores: npt.NDArray[np.float32], k: int) -> IntArray:
    """Columns of the ``k`` largest per row, by (score descending, column ascending); -1 for scores of -inf."""
    kth = np.partition(scores, scores.shape[1] - k, axis=1)[:, -k, None]
    above, level = scores > kth, scores == kth
    # Of the columns level with the k-th, the leftmost fill the places that the better ones leave.
    places = k - above.sum(axis=1, keepdims=True)
    chosen = above | (level & (np.cumsum(level, axis=1) <= places))
    columns = np.nonzero(chosen)[1].reshape(len(scores), k)
    values = np.take_along_axis(scores, columns, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    columns, values = np.take_along_axis(columns, order, axis=1), np.take_along_axis(values, order, axis=1)
    return np.where(np.isneginf(values), -1, columns)


def _hits(lists: IntArray, relevant: UserLists) -> npt.NDArray[np.bool_]:
    """Bool [U, k]: is the listed item relevant to its user?"""
    if not len(relevant.items):
        return np.zeros(lists.shape, dtype=bool)
    width = int(max(relevant.items.max(), lists.max(initial=0))) + 1
    owners = np.repeat(np.arange(len(lists)), relevant.counts())
    pairs = owners * width + relevant.items  # ascending: users ascend, and items within each user
    wanted = np.arange(len(lists))[:, None] * width + lists
    found = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
    hits: npt.NDArray[np.bool_] = (lists >= 0) & (pairs[found] == wanted)
    return hits
