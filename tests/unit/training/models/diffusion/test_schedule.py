"""Both schedules: their identities, their inverses, how far they lie apart, and the draws they make."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.models.diffusion.schedule import ContinuousSchedule, DiscreteSchedule, NoiseSchedule, time_labels

SCHEDULES: list[NoiseSchedule] = [DiscreteSchedule(), ContinuousSchedule()]
times = st.floats(min_value=1e-4, max_value=1.0)
schedules = st.sampled_from(SCHEDULES)


@given(schedule=schedules, t=times)
def test_signal_and_noise_keep_the_variance(schedule: NoiseSchedule, t: float) -> None:
    state = schedule(torch.tensor([t]))
    assert float(state.alpha**2 + state.sigma**2) == pytest.approx(1.0, abs=1e-14)
    assert float(state.lambda_) == pytest.approx(math.log(float(state.alpha / state.sigma)), rel=1e-12, abs=1e-12)


@given(schedule=schedules, t=times)
def test_inverse_lambda_undoes_lambda(schedule: NoiseSchedule, t: float) -> None:
    exact = torch.tensor([t], dtype=torch.float64)
    assert float(schedule.inverse_lambda(schedule(exact).lambda_)) == pytest.approx(t, rel=1e-9)


@given(schedule=schedules, pair=st.tuples(times, times))
def test_signal_falls_with_time(schedule: NoiseSchedule, pair: tuple[float, float]) -> None:
    early, late = sorted(pair)
    state = schedule(torch.tensor([early, late], dtype=torch.float64))
    assert state.lambda_[0] >= state.lambda_[1]


def test_discrete_steps_are_the_product_of_their_betas() -> None:
    expected = 1.0
    alphas = []
    for step in range(1000):
        expected *= 1.0 - (1e-4 + (0.02 - 1e-4) * step / 999)
        alphas.append(math.sqrt(expected))
    grid = torch.arange(1, 1001, dtype=torch.float64) / 1000
    torch.testing.assert_close(DiscreteSchedule()(grid).alpha, torch.tensor(alphas, dtype=torch.float64))


def test_continuous_signal_is_the_integral_of_beta() -> None:
    t = 0.37
    points = torch.linspace(0.0, t, 100_001, dtype=torch.float64)
    integral = torch.trapezoid(0.1 + 19.9 * points, points)
    assert float(ContinuousSchedule()(torch.tensor([t], dtype=torch.float64)).alpha) == pytest.approx(
        float(torch.exp(-0.5 * integral)), rel=1e-9
    )


def test_the_two_schedules_differ_by_the_few_percent_that_mixing_them_costs() -> None:
    grid = torch.arange(1, 1001, dtype=torch.float64) / 1000
    ratio = DiscreteSchedule()(grid).alpha / ContinuousSchedule()(grid).alpha - 1.0
    assert 0.02 < float(ratio.abs().max()) < 0.035


def test_time_labels_number_the_discrete_steps() -> None:
    labels = time_labels(torch.tensor([0.0, 1e-4, 0.001, 0.002, 1.0], dtype=torch.float64))
    torch.testing.assert_close(labels, torch.tensor([0.0, 0.0, 0.0, 1.0, 999.0], dtype=torch.float64))


@pytest.mark.parametrize("schedule", SCHEDULES)
@given(rows=st.integers(1, 65), seed=st.integers(0, 100))
def test_antithetic_times_mirror_each_other(schedule: NoiseSchedule, rows: int, seed: int) -> None:
    drawn = schedule.draw_times(rows, end_time=1e-3, antithetic=True, generator=torch.Generator().manual_seed(seed))
    assert drawn.shape == (rows,)
    assert 1e-3 <= float(drawn.min()) <= float(drawn.max()) <= 1.0
    half = -(-rows // 2)
    torch.testing.assert_close(drawn[half:] + drawn[: rows - half], torch.full((rows - half,), 1.001).double())


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("antithetic", [True, False])
def test_drawn_times_are_uniform(schedule: NoiseSchedule, antithetic: bool) -> None:
    drawn = schedule.draw_times(
        20_000, end_time=1e-3, antithetic=antithetic, generator=torch.Generator().manual_seed(5)
    )
    quartiles = torch.quantile(drawn, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    torch.testing.assert_close(quartiles, torch.tensor([0.25, 0.5, 0.75]).double(), atol=0.02, rtol=0.0)
