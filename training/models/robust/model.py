"""DiffCDR for predicting ratings: on what biases leave, and never far from the plain ``bias`` model.

    rating(u, j) = mean + b_j + (1 + d_j) e_u + v_j . q_u          target vector [e_u, q_u], see ``target.py``

1. The condition: how the user rates in the source domain, and what (``condition.py``).
2. The DIM is the best noise predictor under a Gaussian model (``closed_form/dim.py``). Its conditional means are ridge
   regressions (``maps.py``): of the level on users, of the taste on their ratings, the task loss of Eq. 7.
3. Guidance (Eq. 3) and DPM-Solver, from alpha_T m(c).
4. The gate: a weighted mean with the ``bias`` model. At weight 0 it *is* the ``bias`` model.

Every step is affine in the condition, so the transfer is one affine map. The ALM has nothing left to do: the taste is
aligned by the task loss, and the gate scales the rest.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from training.models.contract import SourceFold, fitted
from training.models.history import HistoryMap
from training.models.robust.config import RobustDiffCDRConfig
from training.models.robust.search import Choice, RobustSearch
from training.models.table_model import Tables, TabularModel
from training.problem import TransferProblem


class RobustDiffCDR(TabularModel):
    """DiffCDR beside the biases, behind a gate; see :class:`RobustDiffCDRConfig` for what can be set.

    Source vectors are the ``bias`` model's user bias, then the condition. Item entries: 1 for that bias, 1 + d_j for
    the level, v_j for the taste, if any.
    """

    name = "diffcdr"

    def __init__(self, config: RobustDiffCDRConfig) -> None:
        super().__init__()
        self.config = config
        self._choice: Choice | None = None
        self._source_fold: SourceFold | None = None
        self._history: HistoryMap | None = None

    def solve(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """Every choice in turn, on the validation users."""
        search = RobustSearch(self.config, problem, generator)
        tables, self._choice = search.solve()
        self._source_fold, self._history = search.source_fold(), search.history
        return tables

    def source_fold(self) -> SourceFold:
        """All of the condition, in closed form."""
        return fitted(self._source_fold)

    def source_history(self) -> HistoryMap:
        """The history features at the end of the condition."""
        return fitted(self._history)

    def details(self) -> dict[str, Any]:
        """Every setting of the method, and what was chosen."""
        return {**self.config.model_dump(mode="json"), **asdict(fitted(self._choice))}
