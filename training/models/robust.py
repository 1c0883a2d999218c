"""DiffCDR for predicting ratings: on what biases leave, and never far from the plain ``bias`` model.

    rating(u, j) = mean + b_j + (1 + d_j) e_u + v_j . q_u          target vector [e_u, q_u], see ``robust_target.py``

1. The condition: how the user rates in the source domain, and what (``robust_condition.py``).
2. The DIM is the best noise predictor under a Gaussian model (``gaussian_dim.py``). Its conditional means are ridge
   regressions (``robust_maps.py``): of the level on users, of the taste on their ratings, the task loss of Eq. 7.
3. Guidance (Eq. 3) and DPM-Solver, from alpha_T m(c).
4. The gate: a weighted mean with the ``bias`` model. At weight 0 it *is* the ``bias`` model.

Every step is affine in the condition, so the transfer is one affine map. The ALM has nothing left to do: the taste is
aligned by the task loss, and the gate scales the rest.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from training.fit.checkpoint import CheckpointFile
from training.models.base import FitReport, Progress, ScoringHead, TransferModel, TransferProblem, fitted
from training.models.batching import affine_blockwise
from training.models.configs_robust import RobustDiffCDRConfig
from training.models.robust_search import Search, Solution
from training.models.validation import held_out_errors


class RobustDiffCDR(TransferModel):
    """DiffCDR beside the biases, behind a gate; see :class:`RobustDiffCDRConfig` for what can be set."""

    name = "diffcdr"

    def __init__(self, config: RobustDiffCDRConfig) -> None:
        self.config = config
        self._fitted: Solution | None = None

    def fit(
        self,
        problem: TransferProblem,
        *,
        generator: torch.Generator,
        progress: Progress | None = None,
        checkpoint: CheckpointFile | None = None,
    ) -> FitReport:
        """Solve, in one "epoch"; there is nothing to resume, so ``checkpoint`` is left alone."""
        # One thread: what is chosen must not depend on the number of cores.
        with threadpool_limits(limits=1):
            self._fitted = Search(self.config, problem, generator).solve()
        held_out = problem.validation
        vectors = self.transfer(self.source_vectors()[held_out.source_rows])
        figures = held_out_errors(vectors, held_out, head=self.head(), rating_range=problem.rating_range)
        if progress is not None:
            progress(epoch=1, epochs=1, rows=len(problem.target), figures=figures)
        return FitReport(epochs=[figures], best_epoch=1, rows=len(problem.target))

    def source_vectors(self) -> Tensor:
        """The ``bias`` model's user bias, then the condition."""
        return fitted(self._fitted).source

    def head(self) -> ScoringHead:
        """Item entries: 1 for the ``bias`` model's user bias, 1 + d_j for the level, v_j for the taste, if any."""
        return fitted(self._fitted).head

    def transfer(self, vectors: Tensor) -> Tensor:
        """The affine map, in the dtype of ``vectors``."""
        found = fitted(self._fitted)
        return affine_blockwise(vectors, found.matrix.to(vectors.dtype), found.offset.to(vectors.dtype))

    def fold(self) -> tuple[Tensor, Tensor]:
        """The affine map."""
        found = fitted(self._fitted)
        return found.matrix, found.offset

    def details(self) -> dict[str, Any]:
        """Every setting of the method, and what was chosen."""
        return {**self.config.model_dump(mode="json"), **asdict(fitted(self._fitted).choice)}
