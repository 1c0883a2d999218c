"""Samplers by name, each against its paper's formulas evaluated slowly; the fold and the module against them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffcdr.errors import InputError
from tests.unit.training.models.diffusion.test_dim import predictor, relative
from tests.unit.training.models.diffusion.test_solver import gaussian_error, network, predict
from training.models.diffusion.folding import Folder
from training.models.diffusion.sampler import Sampler, guided_noise
from training.models.diffusion.sampler_plans import SamplerName, ddim_plan, multistep_plan, sampler_plan, spaced_times
from training.models.diffusion.schedule import ContinuousSchedule, DiscreteSchedule, NoiseSchedule
from training.models.diffusion.solver import Skip, SolverPlan, Stage, make_plan, solve
from training.models.diffusion.user_draws import user_draws

SCHEDULES = st.sampled_from([DiscreteSchedule(), ContinuousSchedule()])
SKIPS = st.sampled_from(["logsnr", "time"])
Predict = Callable[[Tensor, float], Tensor]


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def predicted(schedule: NoiseSchedule) -> Predict:
    """A fixed network, evaluated at a time."""
    net = network()
    return lambda x, t: predict(net, x, float(schedule(torch.tensor(t, dtype=torch.float64)).lambda_))


def run(plan: SolverPlan, noise: Predict, start: Tensor, draws: Tensor) -> Tensor:
    return solve(lambda x, stage: noise(x, stage.t), start, plan, draws=list(draws[: plan.draws]))


@given(schedule=SCHEDULES, skip=SKIPS, nfe=st.integers(1, 40))
def test_ddim_without_draws_is_dpm_solver_of_order_one(schedule: NoiseSchedule, skip: Skip, nfe: int) -> None:
    times = spaced_times(schedule, nfe=nfe, skip=skip, end_time=1e-3)
    ddim, first = ddim_plan(schedule, times, eta=0.0), make_plan(schedule, times, [1] * nfe)
    noise, start = predicted(schedule), drawn(5, 4)
    assert ddim.draws == 0
    assert relative(run(ddim, noise, start, start), run(first, noise, start, start)) < 1e-12


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_ddim_is_equation_12(eta: float) -> None:
    schedule = DiscreteSchedule()
    times = spaced_times(schedule, nfe=11, skip="time", end_time=1e-3)
    noise, x, draws = predicted(schedule), drawn(5, 4), drawn(10, 5, 4, seed=2)
    plan = ddim_plan(schedule, times, eta=eta)
    ours = run(plan, noise, x, draws)
    bars = (schedule(times).alpha ** 2).tolist()  # alpha_t in the paper's own notation
    for n, (now, then) in enumerate(zip(bars, bars[1:], strict=False)):
        sigma = eta * math.sqrt((1.0 - then) / (1.0 - now)) * math.sqrt(1.0 - now / then)
        eps = noise(x, float(times[n]))
        x = math.sqrt(then) * (x - math.sqrt(1.0 - now) * eps) / math.sqrt(now) + math.sqrt(1.0 - then - sigma**2) * eps
        x = x + sigma * draws[n] if n < 10 else x
    assert plan.draws == 10
    assert relative(ours, x) < 1e-10


def test_ddpm_is_algorithm_2() -> None:
    schedule = DiscreteSchedule()
    noise, x, draws = predicted(schedule), drawn(5, 4), drawn(30, 5, 4, seed=2)
    plan = sampler_plan("ddpm", schedule, nfe=30, order=3, eta=0.0, skip="time", end_time=1e-3)
    ours = run(plan, noise, x, draws)
    times = [*(stage.t for stage in plan.stages), 1e-3]
    bars = (schedule(torch.tensor(times, dtype=torch.float64)).alpha ** 2).tolist()
    for n, (now, then) in enumerate(zip(bars, bars[1:], strict=False)):
        beta, alpha = 1.0 - now / then, now / then  # of a step over several of the schedule's
        x = (x - beta / math.sqrt(1.0 - now) * noise(x, times[n])) / math.sqrt(alpha)
        if n < 29:
            x = x + math.sqrt((1.0 - then) / (1.0 - now) * beta) * draws[n]
    assert relative(ours, x) < 1e-10


@given(schedule=SCHEDULES, skip=SKIPS, nfe=st.integers(1, 25))
def test_dpm_solver_plus_plus_is_algorithm_2(schedule: NoiseSchedule, skip: Skip, nfe: int) -> None:
    times = spaced_times(schedule, nfe=nfe, skip=skip, end_time=1e-3)
    state, noise, x = schedule(times), predicted(schedule), drawn(5, 4)
    ours = run(multistep_plan(schedule, times), noise, x, x)
    clean: list[Tensor] = []
    h = state.lambda_.diff()
    for n in range(nfe):
        clean.append((x - state.sigma[n] * noise(x, float(times[n]))) / state.alpha[n])
        direction = clean[-1]
        if n:
            r = h[n - 1] / h[n]
            direction = (1 + 1 / (2 * r)) * clean[-1] - 1 / (2 * r) * clean[-2]
        x = state.sigma[n + 1] / state.sigma[n] * x - state.alpha[n + 1] * torch.expm1(-h[n]) * direction
    assert relative(ours, x) < 1e-9


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_dpm_solver_plus_plus_agrees_with_diffusers() -> None:
    from diffusers import DPMSolverMultistepScheduler  # noqa: PLC0415 - takes seconds to load, in every process of tests

    scheduler = DPMSolverMultistepScheduler(
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        algorithm_type="dpmsolver++",
        solver_order=2,
        lower_order_final=False,
        final_sigmas_type="sigma_min",
    )
    scheduler.set_timesteps(15)
    schedule, net = DiscreteSchedule(), network()
    lambdas = -scheduler.sigmas.double().log()
    start = x = drawn(6, 4)
    for n, timestep in enumerate(scheduler.timesteps):
        x = scheduler.step(predict(net, x, float(lambdas[n])), timestep, x).prev_sample
    plan = multistep_plan(schedule, schedule.inverse_lambda(lambdas))
    assert relative(run(plan, predicted(schedule), start, start), x) < 1e-6


def test_dpm_solver_plus_plus_is_of_order_two() -> None:
    schedule = ContinuousSchedule()

    def error(steps: int) -> float:
        times = spaced_times(schedule, nfe=steps, skip="logsnr", end_time=1e-3)
        return gaussian_error(multistep_plan(schedule, times), schedule)

    assert math.log(error(80) / error(320)) / math.log(4.0) == pytest.approx(2.0, abs=0.25)


@settings(max_examples=30)
@given(
    sampler=st.sampled_from(["dpm-solver", "dpm-solver++", "ddim", "ddpm"]),
    nfe=st.integers(1, 31),
    eta=st.sampled_from([0.0, 0.4]),
    skip=SKIPS,
    gaussian=st.booleans(),
    size=st.sampled_from([1.0, 3.0, 10.0]),
)
def test_module_and_fold_are_the_stepwise_run(
    sampler: SamplerName, nfe: int, eta: float, skip: Skip, gaussian: bool, size: float
) -> None:
    # ``size``: large weights are folded stage by stage, small ones by Horner's scheme.
    net, source = predictor("none").double(), drawn(7, 4)
    for layer in (net.first, net.second, net.third):
        layer.weight.mul_(size ** (1 / 3))
    first = drawn(4, seed=3) if gaussian else None
    plan = sampler_plan(sampler, DiscreteSchedule(), nfe=nfe, order=3, eta=eta, skip=skip, end_time=1e-3)
    draws = drawn(plan.draws, 7, 4, seed=4)

    def noise(x: Tensor, stage: Stage) -> Tensor:
        t = torch.full((len(x),), stage.t, dtype=torch.float64)
        return guided_noise(net, x, t, condition=source, guidance_scale=0.3)

    expected = solve(noise, source if first is None else first.expand(7, -1), plan, draws=list(draws))
    inputs = torch.cat([source, *draws], dim=1)
    module = Sampler(net, plan, guidance_scale=0.3, initial_state=first, alignment=torch.nn.Identity()).eval()
    assert relative(module(inputs), expected) < 1e-8
    folded = Folder(plan, guidance_scale=0.3, time_features=6).fold(net, initial_state=first)
    assert relative(torch.from_numpy(inputs.numpy() @ folded.matrix + folded.offset), expected) < 1e-6


def test_draws_follow_from_seed_and_id_alone() -> None:
    ids = np.array([b"ann", b"bo", b"user-0000000003"])
    all_of_them = user_draws(ids, seed=7, width=6)
    turned = np.array(["bo", "ann"], dtype="S3")  # another width of ids, another order
    assert torch.equal(user_draws(turned, seed=7, width=6), all_of_them[[1, 0]])
    assert torch.equal(user_draws(ids, seed=7, width=4), all_of_them[:, :4])
    assert not torch.equal(user_draws(ids, seed=8, width=6), all_of_them)
    many = user_draws(np.array([b"%d" % n for n in range(2_000)]), seed=1, width=20)
    assert float(many.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(many.std()) == pytest.approx(1.0, abs=0.02)
    assert float((many[:-1] * many[1:]).mean()) == pytest.approx(0.0, abs=0.02)


def test_more_noise_than_memory_is_refused_before_it_is_drawn() -> None:
    with pytest.raises(InputError, match="GiB of noise.*nfe"):
        user_draws(np.array([b"ann", b"bo"]), seed=0, width=2**30)
