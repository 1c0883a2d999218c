"""A sampler's run as a plan of weighted sums; and DPM-Solver (Lu et al. 2022): singlestep, orders 1 to 3, "fast".

One step from s to t solves x' = f(t) x + g(t) eps(x, t) with the linear part exact and eps expanded in lambda:

    x_t = (alpha_t / alpha_s) x_s - sigma_t (e^h - 1) eps_s - …,      h = lambda_t - lambda_s

Every coefficient depends on the schedule and the times alone. They are computed once, as plain floats, into a
:class:`SolverPlan`; running it is a loop of weighted sums, which unrolls into a small graph and also runs on NumPy.
Other samplers make plans of the same form (:mod:`training.models.diffusion.sampler_plans`).
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

    ``index``: its number in the plan, from 0; it evaluates state ``index`` at time ``t``, where state 0 is the start.
    State ``index`` + 1 is the sum of earlier states, of evaluations, and of one fresh standard normal draw:
    ``signals`` are (number of the state, factor), ``weights`` (number of the evaluation, factor), ``spread`` the
    draw's factor, 0 where nothing is drawn.
    """

    index: int
    t: float
    signals: tuple[tuple[int, float], ...]
    weights: tuple[tuple[int, float], ...]
    spread: float = 0.0


@dataclass(frozen=True)
class SolverPlan:
    """The plan of a sampler's run. ``orders``: the order of each step."""

    stages: tuple[Stage, ...]
    orders: tuple[int, ...]

    @property
    def draws(self) -> int:
        """Standard normal vectors that a run needs per row; 0 for a deterministic sampler."""
        return sum(stage.spread != 0.0 for stage in self.stages)


def solve(noise: Callable[[Array, Stage], Array], x: Array, plan: SolverPlan, *, draws: Sequence[Array] = ()) -> Array:
    """Solve from the plan's first time to its last, starting at ``x``.

    ``noise(x, stage)`` predicts the noise in ``x`` at time ``stage.t``, in the shape of ``x``. ``draws``: as many
    arrays of that shape as ``plan.draws``, in the order of use.
    """
    states, noises, fresh = [x], list[Array](), iter(draws)
    for stage in plan.stages:
        noises.append(noise(states[-1], stage))
        (first, factor), *others = stage.signals
        state = states[first] * factor
        for number, factor in others:
            state = state + states[number] * factor
        for number, weight in stage.weights:
            state = state + noises[number] * weight
        if stage.spread:
            state = state + next(fresh) * stage.spread
        states.append(state)
    return states[-1]


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
    """A plan with evaluations at descending ``times`` [sum(orders) + 1], ending at the last.

    A step of order n takes n of the times and ends where the next step begins.
    """
    state = schedule(times)
    alphas, sigmas, lambdas = state.alpha.tolist(), state.sigma.tolist(), state.lambda_.tolist()
    stages: list[Stage] = []
    start = 0
    for order in orders:
        distances = [lambdas[start + n + 1] - lambdas[start] for n in range(order)]
        stages.extend(
            Stage(
                index=start + n,
                t=float(times[start + n]),
                signals=((start, alphas[start + n + 1] / alphas[start]),),
                weights=tuple(
                    (start + number, -sigmas[start + n + 1] * weight) for number, weight in enumerate(weights) if weight
                ),
            )
            for n, weights in enumerate(_weights(distances))
        )
        start += order
    return SolverPlan(tuple(stages), tuple(orders))


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
