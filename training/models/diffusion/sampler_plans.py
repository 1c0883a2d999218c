"""Samplers by name, each as a :class:`SolverPlan`: DPM-Solver, DPM-Solver++ (2M), DDIM and DDPM's ancestral sampling.

All of them are linear in the states and the predicted noise, so they fold if the DIM is affine. With the prediction
x0(s) = (x_s - sigma_s eps_s) / alpha_s of the clean vector:

DDIM (Song, Meng and Ermon 2021, eq. 12 and 16), from s to t, with a fresh draw z:

    x_t = alpha_t x0(s) + sqrt(sigma_t^2 - v^2) eps_s + v z
    v   = eta (sigma_t / sigma_s) sqrt(1 - alpha_s^2 / alpha_t^2)

DDPM (Ho et al. 2020, algorithm 2) is DDIM with eta = 1 (Song et al., section 4.1): its variance is the posterior's,
beta-tilde. As in algorithm 2, the last step draws nothing.

DPM-Solver++ (Lu et al. 2023, algorithm 2, "2M"), from s to t, r before s, h = lambda_t - lambda_s:

    x_t = (sigma_t / sigma_s) x_s - alpha_t (e^-h - 1) D
    D   = (1 + q) x0(s) - q x0(r),     q = h / (2 (lambda_s - lambda_r))

The first step has D = x0(s).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from training.models.diffusion.schedule import NoiseSchedule
from training.models.diffusion.solver import Skip, SolverPlan, Stage, fast_plan

SamplerName = Literal["dpm-solver", "dpm-solver++", "ddim", "ddpm"]


def sampler_plan(
    sampler: SamplerName, schedule: NoiseSchedule, *, nfe: int, order: int, eta: float, skip: Skip, end_time: float
) -> SolverPlan:
    """The run of ``sampler`` from t = 1 to ``end_time`` in ``nfe`` evaluations.

    ``order``: only for DPM-Solver; ``eta``: only for DDIM; ``skip``: see :func:`spaced_times`.
    """
    if sampler == "dpm-solver":
        return fast_plan(schedule, nfe=nfe, order=order, skip=skip, end_time=end_time)
    times = spaced_times(schedule, nfe=nfe, skip=skip, end_time=end_time)
    if sampler == "dpm-solver++":
        return multistep_plan(schedule, times)
    return ddim_plan(schedule, times, eta=1.0 if sampler == "ddpm" else eta)


def spaced_times(schedule: NoiseSchedule, *, nfe: int, skip: Skip, end_time: float) -> Tensor:
    """Times float64 [nfe + 1] from 1 down to ``end_time``, evenly spaced in lambda (``logsnr``) or in t."""
    if skip == "time":
        return torch.linspace(1.0, end_time, nfe + 1, dtype=torch.float64)
    first, last = schedule(torch.tensor([1.0, end_time], dtype=torch.float64)).lambda_.tolist()
    times = schedule.inverse_lambda(torch.linspace(first, last, nfe + 1, dtype=torch.float64))
    times[0], times[-1] = 1.0, end_time
    return times


def ddim_plan(schedule: NoiseSchedule, times: Tensor, *, eta: float) -> SolverPlan:
    """DDIM through ``times`` [n + 1], descending; ``eta`` from 0 (no draws) to 1 (DDPM, n - 1 draws)."""
    state = schedule(times)
    alphas, sigmas, lambdas = state.alpha.tolist(), state.sigma.tolist(), state.lambda_.tolist()
    stages = []
    steps = len(times) - 1
    for n in range(steps):
        signal = alphas[n + 1] / alphas[n]
        spread = eta * sigmas[n + 1] / sigmas[n] * math.sqrt(1.0 - (1.0 / signal) ** 2)
        if spread:
            weight = math.sqrt(sigmas[n + 1] ** 2 - spread**2) - signal * sigmas[n]
        else:  # the same in DPM-Solver-1's form, since the two roots would nearly cancel
            weight = -sigmas[n + 1] * math.expm1(lambdas[n + 1] - lambdas[n])
        stages.append(
            Stage(
                index=n,
                t=float(times[n]),
                signals=((n, signal),),
                weights=((n, weight),),
                spread=spread if n < steps - 1 else 0.0,
            )
        )
    return SolverPlan(tuple(stages), (1,) * steps)


def multistep_plan(schedule: NoiseSchedule, times: Tensor) -> SolverPlan:
    """DPM-Solver++ (2M) through ``times`` [n + 1], descending: one evaluation per step, order 2 from the second on."""
    state = schedule(times)
    alphas, sigmas, lambdas = state.alpha.tolist(), state.sigma.tolist(), state.lambda_.tolist()
    stages = []
    for n in range(len(times) - 1):
        h = lambdas[n + 1] - lambdas[n]
        share = h / (2.0 * (lambdas[n] - lambdas[n - 1])) if n else 0.0
        scale = -alphas[n + 1] * math.expm1(-h)
        # x0(i) = (x_i - sigma_i eps_i) / alpha_i
        of_states = {n: sigmas[n + 1] / sigmas[n] + scale * (1.0 + share) / alphas[n]}
        of_noises = {n: -scale * (1.0 + share) * sigmas[n] / alphas[n]}
        if n:
            of_states[n - 1] = -scale * share / alphas[n - 1]
            of_noises[n - 1] = scale * share * sigmas[n - 1] / alphas[n - 1]
        stages.append(Stage(n, float(times[n]), tuple(of_states.items()), tuple(of_noises.items())))
    return SolverPlan(tuple(stages), tuple(2 if n else 1 for n in range(len(stages))))
