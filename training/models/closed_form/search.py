"""Fits the closed form: maps at given settings, and the search over settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from diffcdr.arrays import Float64Array
from training.models.closed_form.alignment import TaskLoss, fit_alignment
from training.models.closed_form.config import GaussianDiffCDRConfig
from training.models.closed_form.dim import GaussianDIM, Spread
from training.models.closed_form.ridge_path import RidgePath
from training.models.diffusion.schedule import make_schedule
from training.models.diffusion.solver import fast_plan
from training.problem import TransferProblem


@dataclass(frozen=True)
class Chain:
    """One candidate before the ALM: mean + (x A + b - mean) F, F ``guided`` [k, k].

    ``left_out`` [n, k]: each training user's x A + b, from a fit to all the others.
    """

    strength: float
    scale: float
    dim: GaussianDIM
    guided: Float64Array
    left_out: Float64Array


class Maps:
    """Everything that can be fitted to one problem, in units of its target vectors' spread."""

    def __init__(self, config: GaussianDiffCDRConfig, problem: TransferProblem, source: Tensor, *, unit: float) -> None:
        """``source`` [n_source_users, d]: the conditions. ``unit``: what target vectors are divided by."""
        self.config = config
        self._targets = problem.target_base.user_vectors[problem.overlap_target].double().numpy() / unit
        self._path = RidgePath(source[problem.overlap_source].double().numpy(), self._targets)
        self._schedule = make_schedule(config.schedule)
        self._plan = fast_plan(
            self._schedule, nfe=config.nfe, order=config.solver_order, skip=config.skip, end_time=config.end_time
        )

    def ridge(self, strength: float) -> tuple[Float64Array, Float64Array]:
        """A [d, k] and b [k] of the conditional mean."""
        return self._path.fit(strength)

    def chains(self, strength: float, scales: Sequence[float]) -> list[Chain]:
        """One chain for each guidance scale."""
        left_out = self._path.leave_one_out(strength)
        dim = GaussianDIM(
            mean=self._targets.mean(axis=0),
            targets=Spread.of(self._targets),
            residuals=Spread.of(self._targets - left_out),
            schedule=self._schedule,
            plan=self._plan,
        )
        return [Chain(strength, scale, dim, dim.fold(guidance_scale=scale), left_out) for scale in scales]

    def align(self, chain: Chain, task: TaskLoss | None) -> Float64Array:
        """The ALM [k, k] behind ``chain``."""
        mean = chain.dim.mean
        solved = (chain.left_out - mean) @ chain.guided
        return fit_alignment(solved, self._targets - mean, prior=self.config.identity_prior, task=task)

    def fold(self, chain: Chain, alignment: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Ridge, guided solver and ALM as one map: A [d, k], b [k]."""
        matrix, offset = self.ridge(chain.strength)
        after, mean = chain.guided @ alignment, chain.dim.mean
        return matrix @ after, (offset - mean) @ after + mean


class GaussianSearch:
    """Chooses each setting in turn on the validation users; of equals, the first of its grid."""

    def __init__(self, maps: Maps, *, validation: Float64Array, judge: Callable[[Float64Array], float]) -> None:
        """``validation`` [U, d]: the users' conditions. ``judge``: of their target vectors [U, k]; higher is better."""
        self.maps = maps
        self._validation, self._judge = validation, judge

    def choose_chain(self) -> tuple[Chain, float]:
        """The chain and its quality: strength by the ridge answers, guidance, then the strengths beside in the grid."""
        config = self.maps.config
        # The strongest is the most cautious, so it comes first.
        grid = sorted(config.ridge_strengths, reverse=True)
        place = int(np.argmax([self._judge(self._ridge_answers(strength)) for strength in grid]))
        judged = [(chain, self._quality(chain)) for chain in self.maps.chains(grid[place], config.guidance_scales)]
        best = max(judged, key=lambda pair: pair[1])
        beside = [*grid[max(place - 1, 0) : place], *grid[place + 1 : place + 2]]
        chains = [chain for strength in beside for chain in self.maps.chains(strength, (best[0].scale,))]
        return max([best, *((chain, self._quality(chain)) for chain in chains)], key=lambda pair: pair[1])

    def choose_alignment(
        self, chain: Chain, tasks: Mapping[float, TaskLoss | None], *, best: float
    ) -> tuple[float | None, Float64Array]:
        """(task weight, W) of the ALM, or (None, identity) where none does better than ``best``, that of no ALM."""
        identity = np.eye(len(chain.dim.mean))
        found: tuple[float | None, Float64Array] = (None, identity)
        for weight, task in tasks.items():
            aligned = self.maps.align(chain, task)
            quality = self._quality(chain, aligned)
            if quality > best:
                best, found = quality, (weight, aligned)
        return found

    def _quality(self, chain: Chain, alignment: Float64Array | None = None) -> float:
        mean = chain.dim.mean
        solved = (self._ridge_answers(chain.strength) - mean) @ chain.guided
        return self._judge((solved if alignment is None else solved @ alignment) + mean)

    def _ridge_answers(self, strength: float) -> Float64Array:
        matrix, offset = self.maps.ridge(strength)
        answers: Float64Array = self._validation @ matrix + offset
        return answers
