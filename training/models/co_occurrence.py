"""Item co-occurrence across domains: the table that item-kNN and neighbour heads score with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from scipy import sparse

from diffcdr.arrays import Float64Array

Weighting = Literal["tfidf", "cosine", "bm25"]
BM25_SATURATION, BM25_LENGTH = 100.0, 0.8


@dataclass(frozen=True)
class CoOccurrences:
    """With the histories X [O, m] and Y [O, n] of users in both domains and a weight w_u of each user:

        c_ij = sum_u w_u x_ui y_uj        n_i = sum_u w_u x_ui        n_j = sum_u w_u y_uj

    A user's weight: 1 (``cosine``), ln(items / (1 + own items))^2 (``tfidf``: users as terms, those with few items say
    more), or that of BM25 (k1 = 100 and b = 0.8 as in the library ``implicit``).

    ``table`` [n, m]: c, transposed; ``source`` [m], ``target`` [n]: n_i and n_j.
    """

    table: sparse.csr_array
    source: Float64Array
    target: Float64Array

    @classmethod
    def of(cls, source: sparse.csr_array, target: sparse.csr_array, weighting: Weighting) -> Self:
        """Count the users in common of ``source`` [O, m] and ``target`` [O, n], binary in float64."""
        users = _user_weights(source, target, weighting)
        weighted = sparse.csr_array(sparse.diags_array(users) @ target)
        table = sparse.csr_array(weighted.T @ source)
        if weighting == "bm25":
            # An item's length norm multiplies its counts, whatever the exponents do.
            first, second = _bm25_norms(source, target)
            table = sparse.csr_array(sparse.diags_array(second) @ table @ sparse.diags_array(first))
        own = np.asarray(weighted.sum(axis=0), dtype=np.float64).ravel()
        return cls(table, np.asarray(users @ source, dtype=np.float64), own)

    def nearest(self, source_exponent: float, target_exponent: float, neighbours: int) -> sparse.csr_array:
        """S_ij = c_ij / (n_i^a n_j^b), float32 [m, n], of the ``neighbours`` largest of each target item j."""
        scaled = sparse.csr_array(self.table @ sparse.diags_array(_power(self.source, -source_exponent)))
        # Of one target item, its own length changes nothing of which source items are nearest.
        near = keep_largest(scaled, neighbours)
        near = sparse.csr_array(sparse.diags_array(_power(self.target, -target_exponent)) @ near)
        return sparse.csr_array(near.T.astype(np.float32))


def keep_largest(matrix: sparse.csr_array, count: int) -> sparse.csr_array:
    """The ``count`` largest positive values of each row of ``matrix``; of equals, those in the first columns."""
    ordered = matrix.sorted_indices()
    indptr, data = ordered.indptr, ordered.data
    kept = data > 0
    for row in np.flatnonzero(np.diff(indptr) > count).tolist():
        own = slice(indptr[row], indptr[row + 1])
        values = data[own]
        least = np.partition(values, len(values) - count)[len(values) - count]
        above, equal = values > least, np.flatnonzero(values == least)
        above[equal[: count - int(above.sum())]] = True
        kept[own] &= above
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(indptr))
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows[kept], minlength=matrix.shape[0]))])
    return sparse.csr_array((data[kept], ordered.indices[kept], starts), shape=matrix.shape)


def _user_weights(source: sparse.csr_array, target: sparse.csr_array, weighting: Weighting) -> Float64Array:
    """[O]; their mean is 1, so that scores have one scale."""
    users, items = source.shape[0], source.shape[1] + target.shape[1]
    own = np.asarray(source.sum(axis=1)).ravel() + np.asarray(target.sum(axis=1)).ravel()
    weights = np.ones(users) if weighting == "cosine" else np.log(items / (1.0 + own)) ** 2
    return np.asarray(weights / (weights.mean() or 1.0), dtype=np.float64)


def _bm25_norms(source: sparse.csr_array, target: sparse.csr_array) -> tuple[Float64Array, Float64Array]:
    lengths = [np.asarray(part.sum(axis=0)).ravel() for part in (source, target)]
    mean = float(np.concatenate(lengths).mean()) or 1.0
    first, second = (
        (BM25_SATURATION + 1.0) / (BM25_SATURATION * (1.0 - BM25_LENGTH + BM25_LENGTH * each / mean) + 1.0)
        for each in lengths
    )
    return np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)


def _power(lengths: Float64Array, exponent: float) -> Float64Array:
    """``lengths`` to a power; 0 where there is no length."""
    return np.asarray(np.power(lengths, exponent, out=np.zeros_like(lengths), where=lengths > 0), dtype=np.float64)
