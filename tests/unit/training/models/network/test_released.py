"""The released code's DiffCDR, by a plain PyTorch module and loop written from its description; none of its code.

What it does is told in the authors' repository (breezeyuner/DiffCDR) and was checked against it with the same weights:
noise predictions agree to 1e-5 where the time embedding has width 128 and frequencies over half - 1, and the condition
is masked behind its linear layer. Here the same is asked of oracles that share nothing with the product but PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from bench.training.train import DIM, drawn_problem
from training.config import load_preset
from training.models.diffusion.dim import sinusoidal
from training.models.diffusion.sampler import guided_noise
from training.models.diffusion.solver import Stage, solve
from training.models.network.affine_updates import AffineUpdates
from training.models.network.alternating import AlternatingUpdates
from training.models.network.config import DiffCDRConfig
from training.models.network.network import DiffCDRNetwork, solver_plan
from training.problem import rating_tensors

ROWS, BATCH = 300, 128


class PlainDIM(nn.Module):
    """x + time + masked condition, then three linear layers with nothing between them."""

    def __init__(self, k: int = DIM, hidden: int = 128, width: int = 128) -> None:
        super().__init__()
        self.width = width
        self.time = nn.Linear(width, k)
        self.condition = nn.Linear(k, k)
        self.layers = nn.Sequential(nn.Linear(k, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, k))

    def forward(self, x: Tensor, label: Tensor, condition: Tensor, mask: Tensor) -> Tensor:
        half = self.width // 2
        rates = [math.exp(-math.log(10000) * i / (half - 1)) for i in range(half)]
        angles = label[:, None] * torch.tensor(rates, dtype=torch.float64)
        embedding = torch.cat((torch.sin(angles), torch.cos(angles)), dim=1).to(x.dtype)
        out: Tensor = self.layers(x + self.time(embedding) + mask * self.condition(condition))
        return out

    def take(self, network: DiffCDRNetwork) -> None:
        """The weights of ``network``."""
        ours = network.noise_predictor
        pairs = [(self.time, ours.time_linear), (self.condition, ours.condition_linear)]
        pairs += zip(self.layers, (ours.first, ours.second, ours.third), strict=True)
        for plain, theirs in pairs:
            plain.load_state_dict(theirs.state_dict())


def reference() -> DiffCDRConfig:
    config = load_preset("reference").diffcdr
    assert isinstance(config, DiffCDRConfig)
    return config


def network_of(config: DiffCDRConfig) -> DiffCDRNetwork:
    return DiffCDRNetwork(config, source_dim=DIM, target_dim=DIM, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("scale", [0.1, 1.0, 2.0])
def test_noise_prediction_is_the_plain_module_s(scale: float) -> None:
    network = network_of(reference())
    plain = PlainDIM()
    plain.take(network)
    generator = torch.Generator().manual_seed(1)
    x, condition = torch.randn(2, 50, DIM, generator=generator)
    steps = torch.randint(1000, (50,), generator=generator)
    with torch.no_grad():
        ours = guided_noise(
            network.noise_predictor, x, (steps.double() + 1) / 1000, condition=condition, guidance_scale=scale
        )
        with_it, without = (plain(x, steps.double(), condition, torch.full((50, 1), mask)) for mask in (1.0, 0.0))
    torch.testing.assert_close(ours, without + scale * (with_it - without), rtol=0.0, atol=1e-5)


def test_without_its_condition_a_row_knows_nothing_of_the_condition_s_layer() -> None:
    """A mask before the layer would leave its bias."""
    predictor = network_of(reference()).noise_predictor
    x, condition, other = torch.randn(3, 5, DIM, generator=torch.Generator().manual_seed(0))
    t, masked = torch.full((5,), 0.3, dtype=torch.float64), torch.zeros(5, 1, dtype=torch.bool)
    with torch.no_grad():
        before = predictor(x, t, condition, kept=masked)
        predictor.condition_linear.bias += 7.0
        assert torch.equal(predictor(x, t, other, kept=masked), before)
        assert not torch.equal(predictor(x, t, torch.zeros_like(other)), before)


def test_time_embedding_in_numbers() -> None:
    """Of label 500: sines at frequency 0, 1 and 63, then cosines; sin and cos of 500 / 10,000 by Python's math."""
    features = sinusoidal(torch.tensor([500.0], dtype=torch.float64), 128, "to_the_end")[0]
    rate = 10_000.0 ** (-1 / 63)
    for place, expected in [(0, math.sin(500.0)), (1, math.sin(500.0 * rate)), (63, 0.04997916927067833)]:
        assert float(features[place]) == pytest.approx(expected, abs=1e-12)
    assert float(features[127]) == pytest.approx(0.9987502603949663, abs=1e-12)  # cos(500 * 1e-4)


def draws(generator: torch.Generator, users: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Of each batch: its ratings, steps, noise and mask, drawn in the product's order."""
    for chosen in torch.split(torch.randperm(len(users), generator=generator), BATCH):
        steps = torch.randint(1000, (-(-len(chosen) // 2),), generator=generator)
        steps = torch.cat((steps, 999 - steps))[: len(chosen)]
        noise = torch.randn(len(chosen), DIM, generator=generator)
        yield chosen, steps, noise, (torch.rand(len(chosen), 1, generator=generator) >= 0.1).float()


@pytest.mark.parametrize("kind", [AlternatingUpdates, AffineUpdates])
def test_an_epoch_is_two_steps_a_batch_of_one_adam(kind: type[AlternatingUpdates]) -> None:
    config = reference()
    problem = drawn_problem(config.model_copy(update={"batch_size": ROWS}), batches=1)
    network = network_of(config)
    dim, alm = PlainDIM(), nn.Linear(DIM, DIM, bias=False)
    dim.take(network)
    alm.load_state_dict(network.alignment.state_dict())
    adam = torch.optim.Adam([*dim.parameters(), *alm.parameters()], lr=0.001)
    bars = torch.cumprod(1.0 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), dim=0)

    def step(loss: Tensor) -> None:
        adam.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_([*dim.parameters(), *alm.parameters()], 1.0)
        adam.step()

    users, items, ratings = rating_tensors(problem.target).all()
    for chosen, steps, noise, mask in draws(torch.Generator().manual_seed(11), users):
        source = problem.source_base.user_vectors[users[chosen]]
        target = problem.target_base.user_vectors[users[chosen]]
        bar = bars[steps][:, None]
        noisy = bar.sqrt().float() * target + (1.0 - bar).sqrt().float() * noise
        step(nn.functional.smooth_l1_loss(dim(noisy, steps.double(), source, mask), noise))

        def eps(x: Tensor, stage: Stage, source: Tensor = source) -> Tensor:
            label = torch.full((len(x),), 1000.0 * max(stage.t - 1e-3, 0.0), dtype=torch.float64)
            with_it, without = (dim(x, label, source, torch.full((len(x), 1), on)) for on in (1.0, 0.0))
            guided: Tensor = without + 0.1 * (with_it - without)
            return guided

        with torch.no_grad():
            solved = solve(eps, source, solver_plan(config))
        aligned = alm(solved)
        scores = (aligned * problem.target_base.item_vectors[items[chosen]]).sum(dim=1) + 3.5
        step(nn.functional.smooth_l1_loss(aligned, target) + 0.1 * nn.functional.mse_loss(scores, ratings[chosen]))

    kind(network, config, problem=problem).epoch(torch.Generator().manual_seed(11))
    expected = network_of(config)
    for plain, ours in [
        (dim.time, network.noise_predictor.time_linear),
        (dim.condition, network.noise_predictor.condition_linear),
        *zip(
            dim.layers,
            (network.noise_predictor.first, network.noise_predictor.second, network.noise_predictor.third),
            strict=True,
        ),
        (alm, network.alignment),
    ]:
        torch.testing.assert_close(ours.weight, plain.weight, rtol=0.0, atol=2e-5)
    assert not torch.equal(expected.alignment.weight, network.alignment.weight)
