"""Noise schedules: how much of a target vector is left at time t, and how much noise was added.

    x_t = alpha(t) x_0 + sigma(t) eps,   alpha^2 + sigma^2 = 1,   lambda = log(alpha / sigma),   t in [0, 1]

Two schedules (Ho et al. 2020; Song et al. 2021; Lu et al. 2022, appendix D) agree in the limit of many steps: the
discrete betas 1e-4..0.02 over N = 1000 steps are the continuous beta(t) = 0.1 + 19.9 t sampled N times. They are not
equal: alpha differs by up to some 3.4 % at t = 1. The authors' released code trains on the discrete one and samples
on the continuous one. Here they are separate schedules, and by default one is used throughout.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from training.setting_types import ScheduleName

STEPS = 1000
"""N: points of the discrete schedule, and the scale of time labels."""


@dataclass(frozen=True)
class ScheduleState:
    """The schedule at times ``t``; all of one shape, float64. ``lambda_`` is half the log signal-to-noise ratio."""

    t: Tensor
    alpha: Tensor
    sigma: Tensor
    lambda_: Tensor


class NoiseSchedule(ABC):
    """A variance-preserving schedule on t in [0, 1]; alpha falls from 1, lambda falls from infinity."""

    def __call__(self, t: Tensor) -> ScheduleState:
        """The state at ``t``, any shape, values in (0, 1]; computed in float64."""
        t = t.double()
        log_alpha = self.log_alpha(t)
        # expm1 keeps sigma exact near t = 0, where 1 - alpha^2 would cancel.
        sigma = torch.sqrt(-torch.expm1(2.0 * log_alpha))
        return ScheduleState(t=t, alpha=log_alpha.exp(), sigma=sigma, lambda_=log_alpha - sigma.log())

    @abstractmethod
    def log_alpha(self, t: Tensor) -> Tensor:
        """log alpha(t), float64, the shape of ``t``."""

    def inverse_lambda(self, lambda_: Tensor) -> Tensor:
        """t with lambda(t) = ``lambda_``, float64; of values within the range of lambda on (0, 1]."""
        # alpha^2 = sigmoid(2 lambda), hence log alpha = -softplus(-2 lambda) / 2.
        return self.inverse_log_alpha(-0.5 * torch.nn.functional.softplus(-2.0 * lambda_.double()))

    @abstractmethod
    def inverse_log_alpha(self, log_alpha: Tensor) -> Tensor:
        """t with log alpha(t) = ``log_alpha``, float64."""

    @abstractmethod
    def draw_times(self, rows: int, *, end_time: float, antithetic: bool, generator: torch.Generator) -> Tensor:
        """Training times, float64 [rows].

        ``antithetic``: the second half of the batch mirrors the first, so that early and late times are balanced.
        """


class DiscreteSchedule(NoiseSchedule):
    """DDPM's N = 1000 betas, linear from 1e-4 to 0.02; step i (from 0) is at t = (i + 1) / N.

    Between the steps log alpha is interpolated linearly, as DPM-Solver does; the point t = 0, alpha = 1 belongs to it.
    """

    def __init__(self) -> None:
        betas = torch.linspace(1e-4, 0.02, STEPS, dtype=torch.float64)
        steps = 0.5 * torch.log1p(-betas).cumsum(0)
        self._log_alphas = torch.cat([steps.new_zeros(1), steps])
        self._times = torch.arange(STEPS + 1, dtype=torch.float64) / STEPS

    def log_alpha(self, t: Tensor) -> Tensor:
        """log alpha(t), linear between the steps."""
        return _interpolate(t, self._times, self._log_alphas)

    def inverse_log_alpha(self, log_alpha: Tensor) -> Tensor:
        """Inverse of :meth:`log_alpha`, exact: it is piecewise linear and falls."""
        return _interpolate(-log_alpha, -self._log_alphas, self._times)

    def draw_times(self, rows: int, *, end_time: float, antithetic: bool, generator: torch.Generator) -> Tensor:
        """Uniform over the N steps (``end_time`` is a matter of sampling only); step i is mirrored to N - 1 - i."""
        drawn = -(-rows // 2) if antithetic else rows
        steps = torch.randint(STEPS, (drawn,), generator=generator)
        if antithetic:
            steps = torch.cat([steps, STEPS - 1 - steps])[:rows]
        return (steps.double() + 1.0) / STEPS


class ContinuousSchedule(NoiseSchedule):
    """VP-linear: beta(t) = 0.1 + 19.9 t, log alpha(t) = -19.9 t^2 / 4 - 0.1 t / 2 (Song et al. 2021, eq. 33)."""

    _BETA_0 = 0.1
    _SLOPE = 19.9

    def log_alpha(self, t: Tensor) -> Tensor:
        """log alpha(t), in closed form."""
        return -0.25 * self._SLOPE * t**2 - 0.5 * self._BETA_0 * t

    def inverse_log_alpha(self, log_alpha: Tensor) -> Tensor:
        """Inverse of :meth:`log_alpha`: the positive root, in the form that does not cancel near t = 0."""
        twice = -2.0 * log_alpha
        return 2.0 * twice / (self._BETA_0 + torch.sqrt(self._BETA_0**2 + 2.0 * self._SLOPE * twice))

    def draw_times(self, rows: int, *, end_time: float, antithetic: bool, generator: torch.Generator) -> Tensor:
        """Uniform over [end_time, 1]; t is mirrored to 1 + end_time - t."""
        drawn = -(-rows // 2) if antithetic else rows
        times = end_time + (1.0 - end_time) * torch.rand(drawn, generator=generator, dtype=torch.float64)
        return torch.cat([times, 1.0 + end_time - times])[:rows] if antithetic else times


def make_schedule(name: ScheduleName) -> NoiseSchedule:
    """The schedule called ``name``."""
    return DiscreteSchedule() if name == "discrete" else ContinuousSchedule()


def time_labels(t: Tensor) -> Tensor:
    """The time input of the noise predictor: 1000 max(t - 1/N, 0), the number of the discrete step, from 0 to 999."""
    return STEPS * (t - 1.0 / STEPS).clamp(min=0.0)


def _interpolate(x: Tensor, nodes: Tensor, values: Tensor) -> Tensor:
    """Piecewise linear through (nodes, values), ``nodes`` ascending; the outer pieces extend beyond the ends."""
    right = torch.searchsorted(nodes, x.contiguous()).clamp(1, len(nodes) - 1)
    left = right - 1
    share = (x - nodes[left]) / (nodes[right] - nodes[left])
    return values[left] + share * (values[right] - values[left])
