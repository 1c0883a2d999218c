"""DiffCDR in closed form: what to serve lists with. DIM, guidance, solver and ALM, without an epoch of training.

1. The condition is the source base vector; for a base model of interactions also the history itself (``history.py``).
2. The DIM is the best noise predictor under a Gaussian model (``gaussian_dim.py``). Its conditional mean m(c) is a
   ridge regression; what the condition leaves open is the covariance of the *leave-one-out* residuals, as the fit's
   own residuals are too small.
3. Guidance (Eq. 3) and DPM-Solver, from alpha_T m(c).
4. The ALM (Eq. 6, 7) in closed form on the leave-one-out DIM outputs (``closed_alm.py``).

Every step is affine, so the transfer is one affine map. With guidance 1 and no ALM it is the ridge regression: the
form contains it, and the validation users say how far to go beyond. Targets are scaled by one number to unit variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from training.models.als import draw_seed, interactions
from training.models.base import TransferProblem, fitted
from training.models.closed_alm import TaskLoss, fit_alignment
from training.models.configs import GaussianDiffCDRConfig
from training.models.gaussian_dim import GaussianDIM, Spread
from training.models.history import HistoryMap
from training.models.ridge_path import RidgePath
from training.models.schedule import make_schedule
from training.models.solver import fast_plan
from training.models.tabular import Tables, TabularModel
from training.models.validation import Judge

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """What was chosen on the validation users; ``task_weight`` None leaves the ALM out."""

    ridge_strength: float
    guidance_scale: float
    task_weight: float | None


@dataclass(frozen=True)
class _Chain:
    """One candidate: mean + (x A + b - mean) F, before the ALM; its quality on the validation users."""

    quality: float
    strength: float
    scale: float
    dim: GaussianDIM
    guided: Float64Array
    left_out: Float64Array


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
        judge = Judge(problem.validation, head=problem.target_base.head(), rating_range=problem.rating_range)
        targets = problem.target_base.user_vectors[problem.overlap_target].double().numpy()
        unit = float(targets.std()) or 1.0
        search = _Search(
            self.config,
            inputs=source[problem.overlap_source].double().numpy(),
            targets=targets / unit,
            validation=source[problem.validation.source_rows].double().numpy(),
            judge=lambda vectors: judge(torch.from_numpy(vectors * unit)),
        )
        chain = search.choose_chain()
        task_weight, alignment = search.choose_alignment(chain, _task_losses(self.config, problem, unit=unit))
        matrix, offset = search.fold(chain, alignment)
        self._choice = Choice(chain.strength, chain.scale, task_weight)
        return Tables(
            source_vectors=source,
            matrix=torch.from_numpy(matrix * unit),
            head=problem.target_base.head(),
            offset=torch.from_numpy(offset * unit),
        )

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


class _Search:
    """The choices, one after the other, each the best on the validation users; of equals, the first of its grid."""

    def __init__(
        self,
        config: GaussianDiffCDRConfig,
        *,
        inputs: Float64Array,
        targets: Float64Array,
        validation: Float64Array,
        judge: Any,
    ) -> None:
        self._config = config
        self._path = RidgePath(inputs, targets)
        self._targets, self._validation, self._judge = targets, validation, judge
        self._schedule = make_schedule(config.schedule)
        self._plan = fast_plan(
            self._schedule, nfe=config.nfe, order=config.solver_order, skip=config.skip, end_time=config.end_time
        )

    def choose_chain(self) -> _Chain:
        """The strength by the ridge answers first, then guidance at that strength and its neighbours in the grid."""
        # The strongest is the most cautious, so it comes first.
        grid = sorted(self._config.ridge_strengths, reverse=True)
        qualities = [self._judge(self._ridge_answers(strength)) for strength in grid]
        best = int(np.argmax(qualities))
        near = grid[max(best - 1, 0) : best + 2]
        near.sort(key=lambda strength: strength != grid[best])
        chains = [chain for strength in near for chain in self._chains(strength)]
        return max(chains, key=lambda chain: chain.quality)

    def choose_alignment(self, chain: _Chain, tasks: dict[float, TaskLoss | None]) -> tuple[float | None, Float64Array]:
        """(task weight, W) of the ALM, or (None, identity) where none of them helps."""
        mean = chain.dim.mean
        solved = (self._ridge_answers(chain.strength) - mean) @ chain.guided
        left_out = (chain.left_out - mean) @ chain.guided
        best = chain.quality
        found: tuple[float | None, Float64Array] = (None, np.eye(len(mean)))
        for weight, task in tasks.items():
            aligned = fit_alignment(left_out, self._targets - mean, prior=self._config.identity_prior, task=task)
            quality = self._judge(solved @ aligned + mean)
            if quality > best:
                best, found = quality, (weight, aligned)
        return found

    def fold(self, chain: _Chain, alignment: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Ridge, guided solver and ALM as one map: A [d, k], b [k]."""
        matrix, offset = self._path.fit(chain.strength)
        after, mean = chain.guided @ alignment, chain.dim.mean
        return matrix @ after, (offset - mean) @ after + mean

    def _chains(self, strength: float) -> list[_Chain]:
        left_out = self._path.leave_one_out(strength)
        dim = GaussianDIM(
            mean=self._targets.mean(axis=0),
            targets=Spread.of(self._targets),
            residuals=Spread.of(self._targets - left_out),
            schedule=self._schedule,
            plan=self._plan,
        )
        deviations = self._ridge_answers(strength) - dim.mean
        chains = []
        for scale in self._config.guidance_scales:
            guided = dim.fold(guidance_scale=scale)
            quality = self._judge(deviations @ guided + dim.mean)
            chains.append(_Chain(quality, strength, scale, dim, guided, left_out))
        return chains

    def _ridge_answers(self, strength: float) -> Float64Array:
        matrix, offset = self._path.fit(strength)
        answers: Float64Array = self._validation @ matrix + offset
        return answers


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
