"""The DIM's plain forward pass, by hand; the sampler and the fold against it."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffcdr.errors import InputError
from training.models.diffusion.dim import Activation, Conditioning, NoisePredictor, sinusoidal
from training.models.diffusion.folding import Folder
from training.models.diffusion.sampler import Sampler, guided_noise
from training.models.diffusion.schedule import DiscreteSchedule
from training.models.diffusion.solver import Stage, fast_plan, solve
from training.models.network.network import alignment_module

FORMS: list[tuple[Activation, Conditioning]] = [("none", "input"), ("silu", "input"), ("silu", "hidden")]


def predictor(
    activation: Activation,
    conditioning: Conditioning = "input",
    *,
    source: int = 4,
    target: int = 4,
    seed: int = 0,
) -> NoisePredictor:
    return NoisePredictor(
        source_dim=source,
        target_dim=target,
        hidden_dim=16,
        time_features=6,
        activation=activation,
        conditioning=conditioning,
        generator=torch.Generator().manual_seed(seed),
    ).requires_grad_(False)


def oracle(net: NoisePredictor, source: Tensor, *, nfe: int, scale: float, start: Tensor | None) -> Tensor:
    """The transfer before the ALM, with Eq. 3 written out at each evaluation."""

    def noise(x: Tensor, stage: Stage) -> Tensor:
        t = torch.full((len(x),), stage.t, dtype=torch.float64)
        return guided_noise(net, x, t, condition=source, guidance_scale=scale)

    first = source if start is None else start.expand(len(source), -1)
    return solve(noise, first, fast_plan(DiscreteSchedule(), nfe=nfe))


def relative(ours: Tensor, expected: Tensor) -> float:
    return float((ours - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(("activation", "conditioning"), FORMS)
def test_forward_is_three_layers_on_the_sum(activation: Activation, conditioning: Conditioning) -> None:
    net = predictor(activation, conditioning)
    x, c = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(1))
    t = torch.linspace(0.1, 1.0, 5, dtype=torch.float64)

    def act(h: Tensor) -> Tensor:
        return h if activation == "none" else h * torch.sigmoid(h)

    time_part = sinusoidal(1000 * t - 1, 6).float() @ net.time_linear.weight.T + net.time_linear.bias
    terms = time_part + c @ net.condition_linear.weight.T + net.condition_linear.bias
    if conditioning == "input":
        h = act((x + terms) @ net.first.weight.T + net.first.bias)
    else:
        h = act(x @ net.first.weight.T + net.first.bias + terms)
    h = act(h @ net.second.weight.T + net.second.bias)
    torch.testing.assert_close(net(x, t, c), h @ net.third.weight.T + net.third.bias)


def test_time_features_by_hand() -> None:
    expected = [math.sin(2.0), math.sin(0.02), math.cos(2.0), math.cos(0.02)]
    torch.testing.assert_close(sinusoidal(torch.tensor([2.0]), 4), torch.tensor([expected]))


def test_construction_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    first, second = predictor("silu", seed=7), predictor("silu", seed=7)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.first.weight, predictor("silu", seed=8).first.weight)


@settings(max_examples=30)
@given(
    form=st.sampled_from(FORMS),
    nfe=st.integers(1, 31),
    scale=st.sampled_from([0.0, 0.1, 1.0, 2.5]),
    gaussian=st.booleans(),
)
def test_sampler_equals_the_plain_path(
    form: tuple[Activation, Conditioning], nfe: int, scale: float, gaussian: bool
) -> None:
    net = predictor(*form).double()
    generator = torch.Generator().manual_seed(nfe)
    source = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    start = torch.randn(4, generator=generator, dtype=torch.float64) if gaussian else None
    alm = alignment_module(4, generator=generator).double().requires_grad_(False)
    sampler = Sampler(
        net, fast_plan(DiscreteSchedule(), nfe=nfe), guidance_scale=scale, initial_state=start, alignment=alm
    )
    expected = oracle(net, source, nfe=nfe, scale=scale, start=start) @ alm.weight.T
    assert relative(sampler(source), expected) < 1e-9


@settings(max_examples=30)
@given(nfe=st.integers(1, 31), scale=st.sampled_from([0.0, 0.1, 1.0, 2.5]), gaussian=st.booleans())
def test_fold_equals_the_plain_path(nfe: int, scale: float, gaussian: bool) -> None:
    generator = torch.Generator().manual_seed(nfe)
    net = predictor("none", source=5 if gaussian else 4).double()
    source = torch.randn(7, net.source_dim, generator=generator, dtype=torch.float64)
    start = torch.randn(4, generator=generator, dtype=torch.float64) if gaussian else None
    alm = alignment_module(4, generator=generator).double().requires_grad_(False)
    folder = Folder(fast_plan(DiscreteSchedule(), nfe=nfe), guidance_scale=scale, time_features=6)
    folded = folder.fold(net, initial_state=start).then(alm)
    expected = oracle(net, source, nfe=nfe, scale=scale, start=start) @ alm.weight.T
    ours = torch.from_numpy(source.numpy() @ folded.matrix + folded.offset)
    assert relative(ours, expected) < 1e-6


@pytest.mark.parametrize("size", [0.1, 1.0, 4.0, 40.0])
def test_fold_by_horner_or_by_stages_is_the_solver_s(size: float) -> None:
    """Large weights are where the polynomial's terms would cancel."""
    net = predictor("none").double()
    with torch.no_grad():
        net.third.weight *= size / torch.linalg.matrix_norm(net.third.weight @ net.second.weight @ net.first.weight, 2)
    source = torch.randn(7, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    folded = Folder(fast_plan(DiscreteSchedule(), nfe=30), guidance_scale=0.1, time_features=6).fold(
        net, initial_state=None
    )
    expected = oracle(net, source, nfe=30, scale=0.1, start=None)
    assert relative(torch.from_numpy(source.numpy() @ folded.matrix + folded.offset), expected) < 1e-8


def test_fold_costs_a_fraction_of_a_training_step() -> None:
    net = NoisePredictor(
        source_dim=10,
        target_dim=10,
        hidden_dim=128,
        time_features=10,
        activation="none",
        generator=torch.Generator().manual_seed(0),
    )
    folder = Folder(fast_plan(DiscreteSchedule(), nfe=30), guidance_scale=0.1, time_features=10)
    seconds = []
    for _ in range(30):
        begun = time.perf_counter()
        folder.fold(net, initial_state=None)
        seconds.append(time.perf_counter() - begun)
    # About 0.3 ms on one core; the bound leaves room for a busy machine.
    assert min(seconds) < 3e-3


def test_what_does_not_fold_says_so() -> None:
    folder = Folder(fast_plan(DiscreteSchedule(), nfe=3), guidance_scale=0.1, time_features=6)
    with pytest.raises(InputError, match="activation"):
        folder.fold(predictor("silu"), initial_state=None)
    with pytest.raises(InputError, match="gaussian"):
        folder.fold(predictor("none", source=5), initial_state=None)


def test_without_guidance_the_source_reaches_the_fold_through_the_initial_state_alone() -> None:
    folder = Folder(fast_plan(DiscreteSchedule(), nfe=12), guidance_scale=0.0, time_features=6)
    folded = folder.fold(predictor("none"), initial_state=torch.zeros(4))
    np.testing.assert_allclose(folded.matrix, 0.0, atol=1e-12)
