"""Ranking against sampled negatives, for comparison with older papers, and for nothing else.

Each held-out rating of a user is ranked alone, among ``negatives`` target items that the user is not known to have,
drawn without repetition. With the rank r of the held-out item (equal scores rank by item row):

    NDCG@10 = 1 / log2(r + 1) where r <= 10, else 0;      HR@10 = 1 where r <= 10, else 0

averaged over the user's held-out ratings, then over users. Such figures are far higher than those over all items, and
may order models otherwise (Krichene and Rendle 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffcdr.search.sparse_part import SparsePart
from training.evaluation.ranking import UserLists
from training.problem import ScoringHead

SAMPLED_K = 10


@dataclass(frozen=True)
class SampledRanking:
    """Means over users with held-out ratings; ``negatives``: how many each was ranked against."""

    negatives: int
    ndcg: float
    hr: float


def sampled_metrics(
    vectors: npt.NDArray[np.floating],
    head: ScoringHead,
    relevant: UserLists,
    *,
    keys: npt.NDArray[np.int64],
    negatives: int,
    seed: int,
    sparse: SparsePart | None = None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """NDCG@10 and HR@10 of each user with relevant items, in user order: float64 [U'] each.

    Args:
        vectors: [U, target_dim].
        head: the items they are scored with.
        relevant: the users' held-out items.
        keys: int64 [U], what stands for each user in the draw.
        negatives: drawn for each held-out item; all there are where there are fewer.
        seed: of the draw.
        sparse: what the users' histories add to the scores.
    """
    items, biases = head.item_vectors.double().numpy(), head.item_biases.double().numpy()
    ndcg, hr = [], []
    for user in np.flatnonzero(relevant.counts()):
        own = relevant.items[relevant.indptr[user] : relevant.indptr[user + 1]]
        drawn = draw_negatives(own, len(items), count=negatives, seed=seed, key=int(keys[user]))
        # One user at a time: a product of another shape may sum in another order.
        scores = items @ vectors[user].astype(np.float64) + biases
        if sparse is not None:
            scores = scores + sparse.of(np.array([user])).sums()[0]
        mine, theirs = scores[own][:, None], scores[drawn]
        ahead = (theirs > mine) | ((theirs == mine) & (drawn < own[:, None]))
        ranks = 1 + ahead.sum(axis=1)
        listed = ranks <= SAMPLED_K
        ndcg.append(float(np.where(listed, 1.0 / np.log2(ranks + 1.0), 0.0).mean()))
        hr.append(float(listed.mean()))
    return np.array(ndcg), np.array(hr)


def draw_negatives(
    own: npt.NDArray[np.integer], n_items: int, *, count: int, seed: int, key: int
) -> npt.NDArray[np.int64]:
    """Items that are not among ``own`` [R] (ascending), for each of them: int64 [R, count], no item twice in a row."""
    free = np.delete(np.arange(n_items), own)
    random = np.random.default_rng([seed, key])
    size = min(count, len(free))
    return np.stack([random.choice(free, size, replace=False) for _ in own])
