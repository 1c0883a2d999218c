"""The sparse head of the blend: tf-idf histories times a truncated table of co-occurrences."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from diffcdr.arrays import Float32Array
from training.models.closed_form.ridge_path import SMALLEST
from training.models.co_occurrence import CoOccurrences
from training.models.history import unit_rows
from training.models.sparse_regression import Regressions

SPREAD_USERS = 256
"""Training users that the unit of a table is taken from, evenly over all."""


@dataclass(frozen=True)
class NeighbourTable:
    """Which table: the exponents of source and target items' lengths, and the source items kept of each target item."""

    source_exponent: float
    target_exponent: float
    neighbours: int


@dataclass(frozen=True)
class RegressionTable:
    """A table of SLIM's coefficients: the penalties, and the source items that each target item is regressed on."""

    l1: float
    l2: float
    neighbours: int


Table = NeighbourTable | RegressionTable


class NeighbourHead:
    """Everything that can be scored with tables of one set of training users."""

    def __init__(self, source: sparse.csr_array, target: sparse.csr_array, idf: Float32Array) -> None:
        """``source`` [O, m] and ``target`` [O, n]: their items, binary. ``idf`` [m]: weights of source items."""
        self._source, self._target, self._idf = source, target, idf
        self._tables: dict[Table, sparse.csr_array] = {}

    @cached_property
    def _counts(self) -> CoOccurrences:
        return CoOccurrences.of(self._source.astype(np.float64), self._target.astype(np.float64), "tfidf")

    def table(self, wanted: Table) -> sparse.csr_array:
        """S float32 [m, n] in units of the spread of the training users' own scores, so that no scale is left."""
        if wanted not in self._tables:
            raw = self._raw(wanted)
            users = self._source[:: max(1, self._source.shape[0] // SPREAD_USERS)]
            unit = max(spread(_scores(raw, users, self._idf)), SMALLEST)
            self._tables[wanted] = sparse.csr_array(raw * np.float32(1.0 / unit))
        return self._tables[wanted]

    def scores(self, wanted: Table, histories: sparse.csr_array) -> Float32Array:
        """[q, n] of users with ``histories`` (binary [q, m])."""
        return _scores(self.table(wanted), histories, self._idf)

    def _raw(self, wanted: Table) -> sparse.csr_array:
        if isinstance(wanted, NeighbourTable):
            return self._counts.nearest(wanted.source_exponent, wanted.target_exponent, wanted.neighbours)
        source, target = self._source.astype(np.float64), self._target.astype(np.float64)
        return Regressions.of(source, target, features="source", neighbours=wanted.neighbours).table(
            l1=wanted.l1, l2=wanted.l2
        )


def spread(scores: Float32Array) -> float:
    """How far the scores [q, m] of one user differ: the standard deviation over items, mean over users."""
    return float(scores.std(axis=1).mean())


def member_weight(share: float, *, beside: list[Float32Array], member: list[Float32Array]) -> float:
    """What ``member`` is multiplied by so that it is spread ``share`` times as far as ``beside``.

    Both hold the scores of the same users, fold by fold. Of a member in other units the weight is another, and weight
    times member the same.
    """
    ratios = [spread(first) / max(spread(second), SMALLEST) for first, second in zip(beside, member, strict=True)]
    return share * float(np.mean(ratios))


def _scores(table: sparse.csr_array, histories: sparse.csr_array, idf: Float32Array) -> Float32Array:
    weighted = unit_rows(sparse.csr_array(histories), idf).astype(np.float32)
    return np.asarray((weighted @ table).toarray(), dtype=np.float32)
