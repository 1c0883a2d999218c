"""Metrics beyond accuracy: coverage, novelty, popularity and similarity of lists.

Over the lists of all users together; an item's *exposure* x_j is how many of the lists hold it, wherever in them. Its
popularity c_j is how many of the N users of the target domain's training ratings rated it. Over n target items:

    coverage    = share of the n items with x_j > 0
    novelty     = sum_j x_j -log2(max(c_j, 1) / N)  /  sum_j x_j       (mean self-information, in bits)
    gini        = sum_i (2 i - n - 1) x_(i)  /  (n sum_j x_j)          (x_(1) <= … <= x_(n); 0: all items alike)
    head_share  = share of the exposure that the ceil(n / 100) most popular items have, ties in popularity by row
    similarity  = mean over lists of two items or more, of the mean cosine of each two of the list's items, an item
                  being the 0/1 vector of who rated it in training (0 for an item nobody rated)

None of them says that a list is good; they say what its accuracy was bought with. Definitions: Castells, Hurley and
Vargas, "Novelty and Diversity in Recommender Systems" (Recommender Systems Handbook, 2015).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from training.evaluation.ranking import IntArray
from training.rating_table import RatingTable

LISTS_AT_ONCE = 512


@dataclass(frozen=True)
class BeyondAccuracy:
    """Definitions: the module's. ``coverage``, ``gini``, ``head_share`` and ``similarity`` lie in 0..1."""

    coverage: float
    novelty: float
    gini: float
    head_share: float
    similarity: float


def beyond_accuracy(lists: IntArray, known: RatingTable) -> BeyondAccuracy:
    """Measure ranked ``lists`` [U, k] (item rows, -1 after the last) of at least one item.

    Args:
        lists: of all users to judge by.
        known: the target ratings that models were trained on; each (user, item) once.
    """
    popularity = np.bincount(known.items, minlength=known.n_items)
    raters = max(1, len(np.unique(known.users)))
    exposure = np.bincount(lists[lists >= 0], minlength=known.n_items)
    information = -np.log2(np.maximum(popularity, 1) / raters)
    head = np.argsort(-popularity, kind="stable")[: -(-known.n_items // 100)]
    shown = exposure.sum()
    return BeyondAccuracy(
        coverage=float(np.count_nonzero(exposure) / known.n_items),
        novelty=float(exposure @ information / shown),
        gini=gini(exposure),
        head_share=float(exposure[head].sum() / shown),
        similarity=_mean_similarity(lists, known),
    )


def gini(exposure: IntArray) -> float:
    """Gini coefficient of non-negative ``exposure`` [n], not all zero: 0 where all are alike, 1 - 1/n for one alone."""
    n = len(exposure)
    ranks = 2 * np.arange(1, n + 1) - n - 1
    return float(ranks @ np.sort(exposure) / (n * exposure.sum()))


def _mean_similarity(lists: IntArray, known: RatingTable) -> float:
    """Mean over the lists with two items or more of the mean cosine of each two; 0 where there is no such list.

    With unit vectors b, the cosines of all pairs add up to (|sum b|^2 - sum |b|^2) / 2: no pair is looked at.
    """
    lists = lists[np.count_nonzero(lists >= 0, axis=1) >= 2]
    if not len(lists):
        return 0.0
    # Models without personal lists give everyone the same.
    lists, copies = np.unique(lists, axis=0, return_counts=True)
    counts = np.bincount(known.items, minlength=known.n_items)
    raters = sparse.csr_array(known.matrix(1.0 / np.sqrt(counts[known.items])).T)
    found = []
    for start in range(0, len(lists), LISTS_AT_ONCE):
        part = lists[start : start + LISTS_AT_ONCE]
        owners, places = np.nonzero(part >= 0)
        listed = part[owners, places]
        chosen = sparse.csr_array((np.ones(len(listed)), (owners, listed)), shape=(len(part), known.n_items))
        together: npt.NDArray[np.float64] = (chosen @ raters).power(2).sum(axis=1)
        sizes, rated = np.bincount(owners), chosen @ (counts > 0).astype(np.float64)
        found.append((together - rated) / (sizes * (sizes - 1)))
    return float(np.average(np.concatenate(found), weights=copies))
