"""SLIM with feature selection (fsSLIM: Ning and Karypis 2011): sparse linear regressions of target items on items.

The coefficients w_j of target item j are a non-negative elastic net on the ``neighbours`` features that are most like
it (:mod:`training.models.sparse_regression`), and

    scores(x) = sum_i x_i idf_i^q w_ij        over source items i

Features are the source items (``source``), or the items of both domains side by side without the item itself
(``both``): target items then explain their part of a column, and the rows of source items are used. What no feature
reaches is ranked by popularity, below everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from scipy import sparse

from training.models.contract import fitted
from training.models.interactions.histories import Histories
from training.models.interactions.sparse_model import SparseModel
from training.models.sparse_regression import Features, Regressions
from training.models.sparse_term import SparseTerm
from training.setting_types import Settings


class SLIMConfig(Settings):
    """SLIM with feature selection, section ``[slim]``. Lists are grids, chosen from on the validation users."""

    features: tuple[Features, ...] = Field(default=("source",), min_length=1)
    """What a target item is regressed on: source items, or the items of both domains."""
    neighbours: tuple[PositiveInt, ...] = Field(default=(100,), min_length=1)
    """Features of a target item."""
    l1: tuple[NonNegativeFloat, ...] = Field(default=(1.0,), min_length=1)
    """Penalty on the sum of the coefficients, in users."""
    l2: tuple[PositiveFloat, ...] = Field(default=(10.0, 30.0), min_length=1)
    """Penalty on half the sum of their squares, in users."""
    idf_exponents: tuple[float, ...] = Field(default=(0.0, 1.0), min_length=1)
    """q of the formula; 0 is SLIM as published."""


@dataclass(frozen=True)
class SLIMChoice:
    """What was chosen on the validation users."""

    features: Features
    neighbours: int
    l1: float
    l2: float
    idf_exponent: float


class SLIM(SparseModel[SLIMChoice]):
    """See the module."""

    name = "slim"

    def __init__(self, config: SLIMConfig) -> None:
        super().__init__()
        self.config = config

    def choices(self) -> Sequence[SLIMChoice]:
        """Every combination."""
        config = self.config
        grids = (config.features, config.neighbours, config.l1, config.l2, config.idf_exponents)
        return [SLIMChoice(*values) for values in product(*grids)]

    def term(self, histories: Histories) -> Callable[[SLIMChoice], SparseTerm]:
        """Features are selected once for each kind and number of them, coefficients solved once for each penalty."""
        items = histories.source.shape[1]

        @cache
        def selected(features: Features, neighbours: int) -> Regressions:
            return Regressions.of(histories.source, histories.target, features=features, neighbours=neighbours)

        @cache
        def table(features: Features, neighbours: int, l1: float, l2: float) -> sparse.csr_array:
            return sparse.csr_array(selected(features, neighbours).table(l1=l1, l2=l2)[:items])

        def term(choice: SLIMChoice) -> SparseTerm:
            near = table(choice.features, choice.neighbours, choice.l1, choice.l2)
            return SparseTerm(histories.idf(choice.idf_exponent).astype(np.float32), 0.0, near)

        return term

    def details(self) -> dict[str, Any]:
        """The settings, and what was chosen."""
        return {**self.config.model_dump(mode="json"), **asdict(fitted(self._choice))}
