"""DPM-Solver against analytic solutions, and against an implementation of other hands."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from training.models.diffusion.schedule import ContinuousSchedule, DiscreteSchedule, NoiseSchedule
from training.models.diffusion.solver import SolverPlan, Stage, fast_orders, fast_plan, make_plan, solve

MEAN, SPREAD = 0.7, 0.5


def gaussian_error(plan: SolverPlan, schedule: NoiseSchedule) -> float:
    """Distance to the exact probability-flow solution for data x_0 ~ N(MEAN, SPREAD^2).

    x_t ~ N(alpha MEAN, v^2) with v^2 = alpha^2 SPREAD^2 + sigma^2; the flow keeps (x_t - alpha MEAN) / v, and the
    exact noise prediction is sigma (x - alpha MEAN) / v^2.
    """

    def state(t: float) -> tuple[Tensor, Tensor, Tensor]:
        at = schedule(torch.tensor(t, dtype=torch.float64))
        return at.alpha * MEAN, torch.sqrt(at.alpha**2 * SPREAD**2 + at.sigma**2), at.sigma

    def noise(x: Tensor, stage: Stage) -> Tensor:
        mean, spread, sigma = state(stage.t)
        return sigma * (x - mean) / spread**2

    start = torch.linspace(-2.0, 2.0, 9, dtype=torch.float64)
    mean_1, spread_1, _ = state(1.0)
    mean_0, spread_0, _ = state(1e-3)
    exact = mean_0 + spread_0 * (start - mean_1) / spread_1
    return float((solve(noise, start, plan) - exact).abs().max())


@pytest.mark.parametrize("order", [1, 2, 3])
def test_error_falls_at_the_rate_of_the_order(order: int) -> None:
    schedule = ContinuousSchedule()
    low, high = schedule(torch.tensor([1.0, 1e-3])).lambda_.tolist()

    def plan(steps: int) -> SolverPlan:
        times = schedule.inverse_lambda(torch.linspace(low, high, order * steps + 1, dtype=torch.float64))
        return make_plan(schedule, times, [order] * steps)

    coarse, fine = gaussian_error(plan(40), schedule), gaussian_error(plan(160), schedule)
    slope = math.log(coarse / fine) / math.log(4.0)
    assert slope == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize("schedule", [DiscreteSchedule(), ContinuousSchedule()])
@pytest.mark.parametrize(("skip", "bound"), [("logsnr", 2e-3), ("time", 5e-3)])
def test_the_fast_plan_of_thirty_solves_the_gaussian(schedule: NoiseSchedule, skip: str, bound: float) -> None:
    plan = fast_plan(schedule, nfe=30, skip="logsnr" if skip == "logsnr" else "time")
    assert gaussian_error(plan, schedule) < bound


def test_thirty_evaluations_are_nine_threes_a_two_and_a_one() -> None:
    assert fast_orders(30) == [3] * 9 + [2, 1]


@given(nfe=st.integers(1, 200), order=st.integers(1, 3))
def test_fast_orders_spend_exactly_the_evaluations_given(nfe: int, order: int) -> None:
    orders = fast_orders(nfe, order)
    assert sum(orders) == nfe
    assert all(1 <= each <= order for each in orders)
    assert orders == sorted(orders, reverse=True)


@given(nfe=st.integers(1, 60), order=st.integers(1, 3), skip=st.sampled_from(["logsnr", "time"]))
def test_a_plan_runs_down_from_one(nfe: int, order: int, skip: str) -> None:
    plan = fast_plan(
        DiscreteSchedule(), nfe=nfe, order=order, skip="time" if skip == "time" else "logsnr", end_time=1e-4
    )
    times = [stage.t for stage in plan.stages]
    assert [stage.index for stage in plan.stages] == list(range(nfe))
    assert times[0] == 1.0
    assert all(earlier > later > 1e-4 for earlier, later in zip(times, times[1:], strict=False))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_no_noise_only_rescales(order: int) -> None:
    schedule = ContinuousSchedule()
    plan = fast_plan(schedule, nfe=7, order=order)
    ends = schedule(torch.tensor([1.0, 1e-3]))
    start = torch.ones(2, dtype=torch.float64)
    scaled = solve(lambda x, stage: torch.zeros_like(x), start, plan)
    torch.testing.assert_close(scaled, start * (ends.alpha[1] / ends.alpha[0]))


def network() -> torch.nn.Module:
    generator = torch.Generator().manual_seed(3)
    layers = torch.nn.Sequential(torch.nn.Linear(5, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4)).double()
    for parameter in layers.parameters():
        torch.nn.init.normal_(parameter, std=0.4, generator=generator)
    return layers.requires_grad_(False)


def diffusers_sample(net: torch.nn.Module, start: Tensor, *, nfe: int, order: int) -> tuple[Tensor, Tensor, list[int]]:
    """What diffusers makes of ``start``; the half log-SNR of its grid; the orders of its steps."""
    from diffusers import DPMSolverSinglestepScheduler  # noqa: PLC0415 - takes seconds to load, in every process of tests

    scheduler = DPMSolverSinglestepScheduler(
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        algorithm_type="dpmsolver",
        solver_order=order,
        lower_order_final=False,
        final_sigmas_type="sigma_min",
    )
    scheduler.set_timesteps(nfe)
    # Its grid: sigma / alpha at each evaluation, then at the end.
    lambdas = -scheduler.sigmas.double().log()
    x = start
    for n, timestep in enumerate(scheduler.timesteps):
        x = scheduler.step(predict(net, x, float(lambdas[n])), timestep, x).prev_sample
    return x, lambdas, [order] * (nfe // order)


def predict(net: torch.nn.Module, x: Tensor, lambda_: float) -> Tensor:
    out: Tensor = net(torch.cat([x, torch.full((len(x), 1), lambda_ / 5.0, dtype=x.dtype)], dim=1))
    return out


@pytest.mark.filterwarnings("ignore:.*algorithm_types=dpmsolver:FutureWarning")
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
@pytest.mark.parametrize(("order", "nfe", "tolerance"), [(1, 12, 1e-6), (2, 12, 1e-6), (3, 60, 1e-3), (3, 240, 1e-5)])
def test_agrees_with_diffusers_on_a_fixed_network(order: int, nfe: int, tolerance: float) -> None:
    # Of order 3, diffusers takes its own order-2 step for the inner state where Lu et al. take algorithm 2's, which is
    # another method of the same order: the two meet as steps shrink. The lower orders are the same to rounding.
    net, schedule = network(), DiscreteSchedule()
    start = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected, lambdas, orders = diffusers_sample(net, start, nfe=nfe, order=order)
    plan = make_plan(schedule, schedule.inverse_lambda(lambdas), orders)

    def noise(x: Tensor, stage: Stage) -> Tensor:
        return predict(net, x, float(schedule(torch.tensor(stage.t, dtype=torch.float64)).lambda_))

    ours = solve(noise, start, plan)
    assert float((ours - expected).abs().max() / expected.abs().max()) < tolerance
