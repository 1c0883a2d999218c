"""The sparse term of a model's scores: what the neighbours of a user's source items say about target items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from torch import Tensor

from diffcdr.bundle.neighbours import LARGEST_POWER, LARGEST_VALUE, LARGEST_WEIGHT, LEAST_WEIGHT
from diffcdr.errors import DiffCDRError
from diffcdr.search.sparse_part import Histories, Neighbours, SparsePart
from training.rating_table import RatingTable


@dataclass(frozen=True)
class SparseTerm:
    """score(u, j) = offset + b_j + v_j . u + sum over the user's source items i of w_i S_ij; a history is binary.

    ``item_weights`` g, float32 [n_source_items], 0 or 1e-9 to 1e9: w_i = g_i / (sum over own items of g^2)^(p / 2).
    ``length_power`` p, 0 (weights as they are) to 2 (1: histories of length 1). ``neighbours`` S, CSR float32
    [n_source_items, n_target_items], values above 0 and at most 1e15: nothing a user has seen counts against an item,
    so that the search is exact (:mod:`diffcdr.search.sparse_part`). Sums are in float64, by ascending source item.

    Raises:
        DiffCDRError: shapes do not belong together, or a value is outside its range.
    """

    item_weights: npt.NDArray[np.float32]
    length_power: float
    neighbours: sparse.csr_array

    def __post_init__(self) -> None:
        weights, values = self.item_weights, self.neighbours.data
        if self.neighbours.format != "csr" or weights.shape != self.neighbours.shape[:1]:
            raise DiffCDRError(f"a sparse term needs CSR [source items, target items] and as many weights: {self!r}")
        if weights.dtype != np.float32 or values.dtype != np.float32:
            raise DiffCDRError(f"a sparse term is of float32, not of {weights.dtype} and {values.dtype}")
        if not (0.0 <= self.length_power <= LARGEST_POWER):
            raise DiffCDRError(f"length_power of a sparse term lies in 0..{LARGEST_POWER:g}, not {self.length_power}")
        if not ((weights == 0) | ((weights >= LEAST_WEIGHT) & (weights <= LARGEST_WEIGHT))).all():
            raise DiffCDRError(f"item weights of a sparse term are 0 or {LEAST_WEIGHT:g} to {LARGEST_WEIGHT:g}")
        if not ((values > 0) & (values <= LARGEST_VALUE)).all():
            raise DiffCDRError(f"values of a sparse term lie above 0, up to {LARGEST_VALUE:g}; drop zeros and clip")

    def table(self) -> Neighbours:
        """As it is searched and served; target items ascend within each row, each once."""
        rows = sparse.csr_array(self.neighbours)
        if not rows.has_canonical_format:
            rows = rows.copy()
            rows.sum_duplicates()
        return Neighbours(
            item_weights=self.item_weights,
            length_power=float(self.length_power),
            indptr=rows.indptr.astype(np.int64),
            items=rows.indices.astype(np.int32),
            values=rows.data,
            n_items=int(rows.shape[1]),
        )


def source_histories(source: RatingTable, rows: Tensor) -> Histories:
    """The source items of users ``rows`` int64 [U] of ``source``, whatever their ratings, each once and ascending."""
    return Histories(source.indptr(), source.items.astype(np.int32)).take(rows.numpy())


def sparse_part(term: SparseTerm | None, source: RatingTable, rows: Tensor) -> SparsePart | None:
    """What ``term`` adds to the scores of source users ``rows`` int64 [U], who have rated ``source``; None for none."""
    return None if term is None else SparsePart(term.table(), source_histories(source, rows))
