"""Item-kNN across domains: target items that share users with the user's source items.

With the histories X [O, m] and Y [O, n] of the training overlap users, a weight w_u of each user, and c_ij =
sum_u w_u x_ui y_uj with the squared lengths n_i = sum_u w_u x_ui and n_j = sum_u w_u y_uj:

    S_ij = c_ij / (n_i^a n_j^b), kept for the K largest of each target item j
    scores(x) = sum_i x_i idf_i^q S_ij

A user's weight: 1 (``cosine``), ln(items / (1 + own items))^2 (``tfidf``: users as terms, those with few items say
more), or that of BM25 (``bm25``, with k1 = 100 and b = 0.8 as in the library ``implicit``, which sets no power of its
own against popular items). What nobody near has is ranked by popularity, below everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from pydantic import Field
from scipy import sparse

from training.models.co_occurrence import CoOccurrences, Weighting
from training.models.contract import fitted
from training.models.interactions.histories import Histories
from training.models.interactions.sparse_model import SparseModel
from training.models.sparse_term import SparseTerm
from training.setting_types import Settings


class ItemKNNConfig(Settings):
    """Item-kNN across domains, section ``[itemknn]``. Lists are grids, chosen from on the validation users."""

    weightings: tuple[Weighting, ...] = Field(default=("tfidf", "cosine"), min_length=1)
    """How users count."""
    source_exponents: tuple[float, ...] = Field(default=(0.5,), min_length=1)
    """a of the formula; 0.5 divides by the length of the source item's column."""
    target_exponents: tuple[float, ...] = Field(default=(0.0, 0.25), min_length=1)
    """b of the formula; the larger, the fewer popular items."""
    neighbours: tuple[int, ...] = Field(default=(50, 300, 1000), min_length=1)
    """K, source items that count for a target item."""
    idf_exponents: tuple[float, ...] = Field(default=(1.0, 0.0), min_length=1)
    """q of the formula."""


@dataclass(frozen=True)
class ItemKNNChoice:
    """What was chosen on the validation users."""

    weighting: Weighting
    source_exponent: float
    target_exponent: float
    neighbours: int
    idf_exponent: float


class ItemKNN(SparseModel[ItemKNNChoice]):
    """See the module."""

    name = "itemknn"

    def __init__(self, config: ItemKNNConfig) -> None:
        super().__init__()
        self.config = config

    def choices(self) -> Sequence[ItemKNNChoice]:
        """Every combination."""
        config = self.config
        grids = (
            config.weightings,
            config.source_exponents,
            config.target_exponents,
            config.neighbours,
            config.idf_exponents,
        )
        return [ItemKNNChoice(*values) for values in product(*grids)]

    def term(self, histories: Histories) -> Callable[[ItemKNNChoice], SparseTerm]:
        """Neighbours are counted once for each weighting, and cut once for each number of them."""
        counts = cache(lambda weighting: CoOccurrences.of(histories.source, histories.target, weighting))

        @cache
        def table(weighting: Weighting, source: float, target: float, neighbours: int) -> sparse.csr_array:
            return counts(weighting).nearest(source, target, neighbours)

        def term(choice: ItemKNNChoice) -> SparseTerm:
            near = table(choice.weighting, choice.source_exponent, choice.target_exponent, choice.neighbours)
            return SparseTerm(histories.idf(choice.idf_exponent).astype(np.float32), 0.0, near)

        return term

    def details(self) -> dict[str, Any]:
        """The settings, and what was chosen."""
        return {**self.config.model_dump(mode="json"), **asdict(fitted(self._choice))}
