"""The closed-form DIM against the exact solutions of its own probability-flow ODE."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.integrate import solve_ivp

from training.models.closed_form.dim import GaussianDIM, Spread
from training.models.diffusion.schedule import ContinuousSchedule
from training.models.diffusion.solver import fast_plan

SCHEDULE = ContinuousSchedule()
END = 1e-4
RNG = np.random.default_rng(4)
TARGETS = RNG.standard_normal((400, 3)) @ RNG.standard_normal((3, 3)) + 1.0
RESIDUALS = TARGETS @ np.diag([0.3, 0.6, 0.9]) + 0.1 * RNG.standard_normal((400, 3))
DEVIATIONS = RNG.standard_normal((7, 3))


def dim_of(
    targets: npt.NDArray[np.float64], residuals: npt.NDArray[np.float64], *, nfe: int = 30, order: int = 3
) -> GaussianDIM:
    return GaussianDIM(
        mean=targets.mean(axis=0),
        targets=Spread.of(targets),
        residuals=Spread.of(residuals),
        schedule=SCHEDULE,
        plan=fast_plan(SCHEDULE, nfe=nfe, order=order, end_time=END),
    )


def state(t: float) -> tuple[float, float]:
    at = SCHEDULE(torch.tensor([t], dtype=torch.float64))
    return float(at.alpha[0]), float(at.sigma[0])


def test_a_spread_is_the_sample_covariance() -> None:
    spread = Spread.of(TARGETS)
    covariance = (spread.directions * spread.variances) @ spread.directions.T
    np.testing.assert_allclose(covariance, np.cov(TARGETS.T), rtol=1e-10)
    noise = 0.6 * np.linalg.inv(0.64 * np.cov(TARGETS.T) + 0.36 * np.eye(3))
    np.testing.assert_allclose(spread.noise_matrix(0.8, 0.6), noise, rtol=1e-9)


@pytest.mark.parametrize("nfe", [1, 5, 30])
def test_guidance_one_gives_the_conditional_mean_back(nfe: int) -> None:
    solved = dim_of(TARGETS, RESIDUALS, nfe=nfe).solve(DEVIATIONS, guidance_scale=1.0)
    np.testing.assert_allclose(solved, DEVIATIONS, rtol=1e-4, atol=1e-5)


def test_guidance_zero_forgets_the_condition_as_the_unconditional_flow_does() -> None:
    """Of N(0, S) the flow is known: along each direction x scales with the standard deviation of x_t."""
    spread = Spread.of(TARGETS)
    (alpha_start, sigma_start), (alpha_end, sigma_end) = state(1.0), state(END)
    growth = np.sqrt(
        (alpha_end**2 * spread.variances + sigma_end**2) / (alpha_start**2 * spread.variances + sigma_start**2)
    )
    exact = ((alpha_start * DEVIATIONS) @ spread.directions * growth) @ spread.directions.T
    error = [
        np.abs(dim_of(TARGETS, RESIDUALS, nfe=nfe).solve(DEVIATIONS, guidance_scale=0.0) - exact).max()
        for nfe in (12, 30, 120)
    ]
    assert error[0] > error[1] > error[2]
    assert error[1] < 5e-3 * np.abs(exact).max()
    assert error[2] < 1e-4 * np.abs(exact).max()


@pytest.mark.parametrize("scale", [0.5, 2.0, 3.0])
def test_guidance_agrees_with_an_independent_integrator(scale: float) -> None:
    """One dimension, dx/dt = f(t) x + g(t)^2 / (2 sigma) eps, by SciPy."""
    targets, residuals = RNG.standard_normal((200, 1)), 0.5 * RNG.standard_normal((200, 1))
    wide, narrow = float(np.var(targets, ddof=1)), float(np.var(residuals, ddof=1))

    def slope(t: float, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        alpha, sigma = state(t)
        beta = 0.1 + 19.9 * t
        unconditional = sigma * x / (alpha**2 * wide + sigma**2)
        conditional = sigma * (x - alpha * 1.0) / (alpha**2 * narrow + sigma**2)
        noise = unconditional + scale * (conditional - unconditional)
        return -0.5 * beta * x + 0.5 * beta / sigma * noise

    start = [state(1.0)[0] * 1.0]
    exact = solve_ivp(slope, (1.0, END), start, rtol=1e-9, atol=1e-12, method="LSODA").y[0, -1]
    for order in (2, 3):
        (found,) = dim_of(targets, residuals, nfe=120, order=order).solve(np.ones((1, 1)), guidance_scale=scale)[0]
        assert math.isclose(found, exact, rel_tol=1e-3)


def test_more_guidance_moves_further_from_the_average_user() -> None:
    dim = dim_of(TARGETS, RESIDUALS)
    lengths = [np.linalg.norm(dim.solve(DEVIATIONS, guidance_scale=s)) for s in (0.75, 1.0, 1.5, 3.0)]
    assert lengths == sorted(lengths)


def test_the_fold_is_the_chain_and_a_row_stands_alone() -> None:
    dim = dim_of(TARGETS, RESIDUALS)
    solved = dim.solve(DEVIATIONS, guidance_scale=2.0)
    np.testing.assert_allclose(DEVIATIONS @ dim.fold(guidance_scale=2.0), solved, rtol=1e-10)
    np.testing.assert_allclose(dim.solve(DEVIATIONS[2:3], guidance_scale=2.0), solved[2:3], rtol=1e-10)
