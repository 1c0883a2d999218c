"""DiffCDR in closed form for lists: DIM, guidance, solver and ALM, without epochs.

1. The condition is the source base vector; for a base model of interactions also the history itself (``history.py``).
2. The DIM is the best noise predictor under a Gaussian model (``dim.py``). Its conditional mean m(c) is a
   ridge regression; what the condition leaves open is the covariance of the *leave-one-out* residuals, as the fit's
   own residuals are too small.
3. Guidance (Eq. 3) and DPM-Solver, from alpha_T m(c).
4. The ALM (Eq. 6, 7) in closed form on the leave-one-out DIM outputs (``alignment.py``).

Every step is affine, so the transfer is one affine map. With guidance 1 and no ALM it is the ridge regression: the
form contains it, and the validation users say how far to go beyond. Targets are scaled by one number to unit variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from diffcdr.arrays import Float64Array
from training.base_models.als import draw_seed, interactions
from training.evaluation.judging import Judge
from training.models.closed_form.alignment import TaskLoss
from training.models.closed_form.config import GaussianDiffCDRConfig
from training.models.closed_form.search import GaussianSearch, Maps
from training.models.contract import fitted
from training.models.history import HistoryMap
from training.models.table_model import Tables, TabularModel
from training.problem import TransferProblem


@dataclass(frozen=True)
class Choice:
    """What was chosen on the validation users; ``task_weight`` None leaves the ALM out."""

    ridge_strength: float
    guidance_scale: float
    task_weight: float | None


class GaussianDiffCDR(TabularModel):
    """DiffCDR with DIM and ALM in closed form; see :class:`GaussianDiffCDRConfig` for what can be set."""

    name = "diffcdr"

    def __init__(self, config: GaussianDiffCDRConfig) -> None:
        super().__init__()
        self.config = config
        self._history: HistoryMap | None = None
        self._choice: Choice | None = None

    def solve(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """Every choice in turn, on the validation users."""
        self._history, source = self._conditions(problem, generator)
        unit = _unit(problem)
        judge = Judge(problem.validation, head=problem.target_base.head(), rating_range=problem.rating_range)
        search = GaussianSearch(
            Maps(self.config, problem, source, unit=unit),
            validation=source[problem.validation.source_rows].double().numpy(),
            judge=lambda vectors: judge(torch.from_numpy(vectors * unit)),
        )
        chain, quality = search.choose_chain()
        tasks = _task_losses(self.config, problem, unit=unit)
        task_weight, alignment = search.choose_alignment(chain, tasks, best=quality)
        self._choice = Choice(chain.strength, chain.scale, task_weight)
        return _tables(problem, source, search.maps.fold(chain, alignment), unit=unit)

    def solve_again(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """As chosen: strength, guidance and ALM. The condition stays what it was: it knows nothing of the target."""
        choice, source, unit = fitted(self._choice), self.source_vectors(), _unit(problem)
        maps = Maps(self.config, problem, source, unit=unit)
        (chain,) = maps.chains(choice.ridge_strength, (choice.guidance_scale,))
        alignment = np.eye(len(chain.dim.mean))
        if choice.task_weight is not None:
            task = _task_losses(self.config, problem, unit=unit)[choice.task_weight]
            alignment = maps.align(chain, task)
        return _tables(problem, source, maps.fold(chain, alignment), unit=unit)

    def source_history(self) -> HistoryMap | None:
        """How the conditions follow from a user's items."""
        return self._history

    def details(self) -> dict[str, Any]:
        """Every setting of the method, and what was chosen."""
        choice = fitted(self._choice)
        return {
            **self.config.model_dump(mode="json"),
            "ridge_strength": choice.ridge_strength,
            "guidance_scale": choice.guidance_scale,
            "alignment": "none" if choice.task_weight is None else "closed form",
            "task_weight": choice.task_weight,
        }

    def _conditions(self, problem: TransferProblem, generator: torch.Generator) -> tuple[HistoryMap | None, Tensor]:
        """The condition of every source user, float32 [n_source_users, source_dim]."""
        base, config = problem.source_base, self.config
        if base.feedback is None:
            return None, base.user_vectors
        items = interactions(problem.source)
        history = HistoryMap.fit(
            items, dim=config.history_dim, vector_weight=config.vector_weight, seed=draw_seed(generator)
        )
        return history, torch.from_numpy(history.conditions(items, base.user_vectors.numpy()))


def _task_losses(
    config: GaussianDiffCDRConfig, problem: TransferProblem, *, unit: float
) -> dict[float, TaskLoss | None]:
    """The ALM's task loss at each weight; None where it has none."""
    base = problem.target_base
    if base.feedback is None:
        return {weight: None for weight in config.task_weights if weight == 0.0}
    rows = problem.overlap_target.numpy()
    users = base.user_vectors[problem.overlap_target].double().numpy() / unit
    items = base.item_vectors.double().numpy() * unit
    own: sparse.csr_array = interactions(problem.target)[rows].astype(np.float64)
    return {
        weight: None
        if weight == 0.0
        else TaskLoss(weight, items, own, confidence=base.feedback.confidence, mean=users.mean(axis=0))
        for weight in config.task_weights
    }


def _unit(problem: TransferProblem) -> float:
    """What the training overlap users' target vectors are divided by for unit variance."""
    return float(problem.target_base.user_vectors[problem.overlap_target].double().numpy().std()) or 1.0


def _tables(
    problem: TransferProblem, source: Tensor, folded: tuple[Float64Array, Float64Array], *, unit: float
) -> Tables:
    matrix, offset = (torch.from_numpy(part * unit) for part in folded)
    return Tables(source_vectors=source, matrix=matrix, head=problem.target_base.head(), offset=offset)
