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

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.integer[Any]]


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

    def of(self, users: slice) -> UserLists:
        """The lists of a run of ``users``, counted from its first."""
        first, last, _ = users.indices(len(self.indptr) - 1)
        starts = self.indptr[first : last + 1]
        return UserLists(starts - starts[0], self.items[starts[0] : starts[-1]])


@dataclass(frozen=True)
class RankingMetrics:
    """One figure per user who has held-out ratings: float64 [U'] each, in user order; for means and paired tests."""

    ndcg: npt.NDArray[np.float64]
    hr: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]


def ranking_metrics(lists: IntArray, relevant: UserLists) -> RankingMetrics:
    """Measure ranked ``lists`` [U, k] (item rows, best first, -1 after the last) against ``relevant`` (U users)."""
    counts = relevant.counts()
    hits = hits_of(lists, relevant)[counts > 0].astype(np.float64)
    counts = counts[counts > 0]
    k = lists.shape[1]
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discounts)[np.minimum(counts, k) - 1]
    # A perfect list's two sums add in different orders; it scores 1 exactly all the same.
    ndcg = np.minimum(hits @ discounts / ideal, 1.0)
    found = hits.sum(axis=1)
    return RankingMetrics(ndcg=ndcg, hr=(found > 0).astype(np.float64), recall=found / counts)


def hits_of(lists: IntArray, relevant: UserLists) -> npt.NDArray[np.bool_]:
    """Whether each listed item is relevant to its user, bool [U, k]."""
    if not len(relevant.items):
        return np.zeros(lists.shape, dtype=bool)
    width = int(max(relevant.items.max(), lists.max(initial=0))) + 1
    owners = np.repeat(np.arange(len(lists)), relevant.counts())
    pairs = owners * width + relevant.items  # ascending: users ascend, and items within each user
    wanted = np.arange(len(lists))[:, None] * width + lists
    found = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
    hits: npt.NDArray[np.bool_] = (lists >= 0) & (pairs[found] == wanted)
    return hits
