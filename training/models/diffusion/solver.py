"""DPM-Solver (Lu et al. 2022), singlestep, noise prediction, orders 1 to 3, with its "fast" order schedule.

One step from s to t solves x' = f(t) x + g(t) eps(x, t) with the linear part exact and eps expanded in lambda:

    x_t = (alpha_t / alpha_s) x_s - sigma_t (e^h - 1) eps_s - …,      h = lambda_t - lambda_s

Every coefficient depends on the schedule and the times alone. They are computed once, as plain floats, into a
:class:`SolverPlan`; running it is a loop of weighted sums, which unrolls into a small graph and carries over to NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.models.diffusion.schedule import NoiseSchedule

Array = TypeVar("Array", Tensor, npt.NDArray[np.float64])

Skip = Literal["logsnr", "time"]


@dataclass(frozen=True)
class Stage:
    """One evaluation of the noise predictor, and the state that follows from it.

    ``index``: its number in the plan, from 0. ``t``: the time it is evaluated at. With x the state at the step's
    start and eps_0 … eps_n the step's evaluations so far, the next state is ``signal * x + sum_i weights[i] eps_i``.
    """

    index: int
    t: float
    signal: float
    weights: tuple[float, ...]


@dataclass(frozen=True)
class SolverPlan:
    """A solver run, laid out: ``steps[n]`` holds as many stages as its order."""

    steps: tuple[tuple[Stage, ...], ...]

    @property
    def stages(self) -> tuple[Stage, ...]:
        """All evaluations in turn; there are ``nfe`` of them."""
        return tuple(stage for step in self.steps for stage in step)

    @property
    def orders(self) -> tuple[int, ...]:
        """The order of each step."""
        return tuple(len(step) for step in self.steps)


def solve(noise: Callable[[Array, Stage], Array], x: Array, plan: SolverPlan) -> Array:
    """Carry ``x`` from the plan's first time to its last.

    ``noise(x, stage)`` predicts the noise in ``x`` at time ``stage.t``, in the shape of ``x``.
    """
    for step in plan.steps:
        noises: list[Array] = []
        state = x
        for stage in step:
            noises.append(noise(state, stage))
            state = x * stage.signal
            for weight, predicted in zip(stage.weights, noises, strict=True):
                state = state + predicted * weight if weight else state
        x = state
    return x


def fast_orders(nfe: int, order: int = 3) -> list[int]:
    """Orders of the steps that use exactly ``nfe`` evaluations (Lu et al. 2022, section 3.3 and its appendix).

    As many steps of ``order`` as fit, the rest of lower order; of order 3 the last steps are always lower:
    30 evaluations are nine steps of order 3, one of 2, one of 1.
    """
    if order == 3 and nfe % 3 == 0:
        return [3] * (nfe // 3 - 1) + [2, 1]
    return [order] * (nfe // order) + ([nfe % order] if nfe % order else [])


def fast_plan(
    schedule: NoiseSchedule, *, nfe: int, order: int = 3, skip: Skip = "logsnr", end_time: float = 1e-3
) -> SolverPlan:
    """The fast singlestep plan from t = 1 to ``end_time`` with exactly ``nfe`` >= 1 evaluations.

    ``skip``: ``logsnr`` makes steps of equal length in lambda and evaluates at equal parts of each (DPM-Solver's
    fast version); ``time`` evaluates at times equally far apart.
    """
    orders = fast_orders(nfe, order)
    if skip == "time":
        return make_plan(schedule, torch.linspace(1.0, end_time, nfe + 1, dtype=torch.float64), orders)
    first, last = schedule(torch.tensor([1.0, end_time], dtype=torch.float64)).lambda_.tolist()
    parts = torch.tensor([1.0 / order for order in orders for _ in range(order)], dtype=torch.float64).cumsum(0)
    times = schedule.inverse_lambda(first + (last - first) * torch.cat([parts.new_zeros(1), parts / len(orders)]))
    times[0], times[-1] = 1.0, end_time
    return make_plan(schedule, times, orders)


def make_plan(schedule: NoiseSchedule, times: Tensor, orders: Sequence[int]) -> SolverPlan:
    """A plan with evaluations at ``times``, which fall, and an end at the last; shape [sum(orders) + 1].

    A step of order n takes n of the times and ends where the next step begins.
    """
    state = schedule(times)
    alphas, sigmas, lambdas = state.alpha.tolist(), state.sigma.tolist(), state.lambda_.tolist()
    steps: list[tuple[Stage, ...]] = []
    start = 0
    for order in orders:
        distances = [lambdas[start + n + 1] - lambdas[start] for n in range(order)]
        steps.append(
            tuple(
                Stage(
                    index=start + n,
                    t=float(times[start + n]),
                    signal=alphas[start + n + 1] / alphas[start],
                    weights=tuple(-sigmas[start + n + 1] * weight for weight in weights),
                )
                for n, weights in enumerate(_weights(distances))
            )
        )
        start += order
    return SolverPlan(tuple(steps))


def _weights(distances: Sequence[float]) -> list[list[float]]:
    """Per stage, the factor of each evaluation so far, before -sigma at the stage's end.

    ``distances``: from the step's start to the end of each stage, in lambda; the last is h, the others r_1 h, r_2 h.
    Lu et al. 2022: eq. 3.7 (order 1), algorithms 1, 4 (order 2) and 2, 5 (order 3).
    """
    h = distances[-1]
    if len(distances) == 1:
        return [[_phi_1(h)]]
    first = distances[0]
    if len(distances) == 2:
        slope = _phi_1(h) * h / (2.0 * first)
        return [[_phi_1(first)], [_phi_1(h) - slope, slope]]
    second = distances[1]
    inner_slope = _phi_2(second) * second / first
    slope = _phi_2(h) * h / second
    return [
        [_phi_1(first)],
        [_phi_1(second) - inner_slope, inner_slope],
        [_phi_1(h) - slope, 0.0, slope],
    ]


def _phi_1(h: float) -> float:
    return math.expm1(h)


def _phi_2(h: float) -> float:
    return math.expm1(h) / h - 1.0
