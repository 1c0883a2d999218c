"""The DIM in closed form: the best noise predictor there is, where target vectors are Gaussian given the condition.

With u_t | c ~ N(m(c), S_c) and u_t ~ N(mu, S_u) the state x_t = alpha u_t + sigma eps is Gaussian too, and the noise
to expect in it is affine in x:

    eps_c(x, t) = sigma (alpha^2 S_c + sigma^2 I)^-1 (x - alpha m(c))          conditional
    eps_u(x, t) = sigma (alpha^2 S_u + sigma^2 I)^-1 (x - alpha mu)            unconditional

They minimise the DIM loss (Eq. 5) over all functions, so there is nothing to train. Guidance (Eq. 3) and the solver
are as ever. The solver starts from alpha_T m(c), the mean of the forward process there: with guidance 1 it stays on
alpha_t m(c) and gives m(c) back; above 1 each direction is moved away from mu by as much as the condition tells of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from diffcdr.arrays import Float64Array
from training.models.diffusion.schedule import NoiseSchedule
from training.models.diffusion.solver import SolverPlan, Stage, solve

SMALLEST_VARIANCE = 1e-8


@dataclass(frozen=True)
class Spread:
    """A covariance by its eigenvalues [k] and eigenvectors [k, k] (columns)."""

    variances: Float64Array
    directions: Float64Array

    @classmethod
    def of(cls, rows: Float64Array) -> Self:
        """Of ``rows`` [n, k] around their mean."""
        centred = rows - rows.mean(axis=0)
        variances, directions = np.linalg.eigh(centred.T @ centred / max(len(rows) - 1, 1))
        return cls(np.maximum(variances, SMALLEST_VARIANCE), directions)

    def noise_matrix(self, alpha: float, sigma: float) -> Float64Array:
        """sigma (alpha^2 S + sigma^2 I)^-1, [k, k]."""
        factors = sigma / (alpha**2 * self.variances + sigma**2)
        matrix: Float64Array = (self.directions * factors) @ self.directions.T
        return matrix


class GaussianDIM:
    """The guided chain from conditional means to target vectors, as deviations from the average user ``mean`` [k]."""

    def __init__(
        self,
        *,
        mean: Float64Array,
        targets: Spread,
        residuals: Spread,
        schedule: NoiseSchedule,
        plan: SolverPlan,
    ) -> None:
        """``targets``: S_u. ``residuals``: S_c, what the condition leaves open."""
        self.mean = mean
        self._plan = plan
        state = schedule(torch.tensor([stage.t for stage in plan.stages], dtype=torch.float64))
        self._alphas = state.alpha.tolist()
        pairs = list(zip(self._alphas, state.sigma.tolist(), strict=True))
        self._conditional = [residuals.noise_matrix(alpha, sigma) for alpha, sigma in pairs]
        self._unconditional = [targets.noise_matrix(alpha, sigma) for alpha, sigma in pairs]

    def solve(self, deviations: Float64Array, *, guidance_scale: float) -> Float64Array:
        """Carry m(c) - mu [B, k] to u_hat - mu [B, k], linearly.

        The average user's own part alpha_t mu is carried exactly by the solver's linear term, so it is left out.
        """

        def noise(x: Float64Array, stage: Stage) -> Float64Array:
            unconditional = x @ self._unconditional[stage.index]
            conditional = (x - self._alphas[stage.index] * deviations) @ self._conditional[stage.index]
            predicted: Float64Array = unconditional + guidance_scale * (conditional - unconditional)
            return predicted

        return solve(noise, self._alphas[0] * deviations, self._plan)

    def fold(self, *, guidance_scale: float) -> Float64Array:
        """F [k, k] with solve(d) = d F."""
        return self.solve(np.eye(len(self.mean)), guidance_scale=guidance_scale)
