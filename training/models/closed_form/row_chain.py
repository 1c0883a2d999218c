"""DIM, guidance and ALM in a space of principal directions: from a ridge prediction to target vectors."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from diffcdr.arrays import Float64Array
from training.models.closed_form.alignment import fit_alignment
from training.models.closed_form.blend_config import BlendDiffCDRConfig
from training.models.closed_form.dim import GaussianDIM, Spread
from training.models.closed_form.ridge_path import SMALLEST
from training.models.closed_form.row_path import RowPath, Space
from training.models.diffusion.schedule import make_schedule
from training.models.diffusion.solver import fast_plan


class RowChain:
    """The method at one ridge strength, in the k directions of one space; guidance and ALM are still open."""

    def __init__(self, config: BlendDiffCDRConfig, path: RowPath, space: Space, strength: float) -> None:
        self._config, self._path, self._space = config, path, space
        self._shrink = path.conditions.shrink(strength)
        self._matrix: Float64Array = self._shrink[:, None] * (path.gram @ space.loading)
        """[d, k]: from placed conditions to m(c) - mu."""

    @cached_property
    def _unit(self) -> float:
        return float(self._space.targets.std()) or 1.0

    @cached_property
    def _targets(self) -> Float64Array:
        """The training users' target rows in the space, as deviations from their average, at unit variance: [n, k]."""
        targets = self._space.targets
        deviations: Float64Array = (targets - targets.mean(axis=0)) / self._unit
        return deviations

    @cached_property
    def _left_out(self) -> Float64Array:
        """Each training user's m(c) - mu from a fit to all the others, [n, k] (see :class:`RidgePath`)."""
        rotated = self._path.conditions.rotated
        leverage = 1.0 / len(rotated) + np.square(rotated) @ self._shrink
        misses = self._targets - rotated @ self._matrix / self._unit
        left_out: Float64Array = self._targets - misses / np.maximum(1.0 - leverage, SMALLEST)[:, None]
        return left_out

    @cached_property
    def _dim(self) -> GaussianDIM:
        config, schedule = self._config, make_schedule(self._config.schedule)
        return GaussianDIM(
            mean=np.zeros(self._targets.shape[1]),
            targets=Spread.of(self._targets),
            residuals=Spread.of(self._targets - self._left_out),
            schedule=schedule,
            plan=fast_plan(
                schedule, nfe=config.nfe, order=config.solver_order, skip=config.skip, end_time=config.end_time
            ),
        )

    def guided(self, scale: float) -> Float64Array:
        """F [k, k] of the guided solver; at 1 it gives the conditional mean back, so nothing is solved."""
        return np.eye(self._targets.shape[1]) if scale == 1.0 else self._dim.fold(guidance_scale=scale)

    def matrix(self, guided: Float64Array, prior: float | None) -> Float64Array:
        """[d, k]: from placed conditions to deviations from the average user, behind guidance and the ALM.

        ``prior``: pull of the ALM towards the identity; None leaves it out.
        """
        behind = self._matrix @ guided
        if prior is None:
            return behind
        return behind @ fit_alignment(self._left_out @ guided, self._targets, prior=prior)
