"""L-DiffRec (Wang et al. 2023) across domains: denoises a user's two concatenated vectors in few steps.

From its paper: diffusion over users in a latent space; few steps and little noise, with 1 - abar_t linear in t; a
network that predicts the clean x_0 from x_t and t; reverse steps by the posterior mean, without noise at inference.
Chosen here: the latent space is [u_s ; u_t] of the two base models, not that of a VAE over item clusters, so that it is
compared on the same vectors as all other models. A cold user's target half is zero; a share of the training users have
theirs masked too, so that the network learns to fill it. Losses have equal weight at every t.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from training.models.diffusion.dim import sinusoidal
from training.models.epoch_model import LearnedModel, Learner, descend
from training.models.layers import linear
from training.problem import TransferProblem
from training.setting_types import EpochsConfig


class LDiffRecConfig(EpochsConfig):
    """L-DiffRec (Wang et al. 2023), section ``[ldiffrec]``. The released DiffCDR code has no L-DiffRec."""

    hidden_dim: int = Field(default=64, ge=1)
    """Width of the network's only hidden layer (tanh)."""
    time_features: int = Field(default=10, ge=2, multiple_of=2)
    """Width of the sinusoidal embedding of t."""
    steps: int = Field(default=5, ge=1, le=100)
    """T, the number of steps; its paper tries 2, 5, 10, 40, 50, 100."""
    noise_min: float = Field(default=0.001, gt=0.0, lt=1.0)
    """1 - abar_1, the noise of the first step."""
    noise_max: float = Field(default=0.1, gt=0.0, lt=1.0)
    """1 - abar_T, the noise of the last step."""
    masked_share: float = Field(default=0.5, gt=0.0, le=1.0)
    """Share of the training users of a batch whose target half is masked in the input, as for cold users."""


class Denoiser(nn.Module):
    """x_0 from x_t, and the whole chain from a source vector: [B, source_dim] -> [B, target_dim]."""

    time_features: Tensor

    def __init__(self, source_dim: int, target_dim: int, *, config: LDiffRecConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.source_dim, self.target_dim = source_dim, target_dim
        width, steps = source_dim + target_dim, config.steps
        growth = (config.noise_max - config.noise_min) / max(steps - 1, 1)
        self.kept = [1.0, *(1.0 - config.noise_min - growth * step for step in range(steps))]
        """abar_0 = 1, abar_1, …, abar_T."""
        self.enter = linear(width, config.hidden_dim, generator=generator)
        self.time = linear(config.time_features, config.hidden_dim, generator=generator)
        self.leave = linear(config.hidden_dim, width, generator=generator)
        labels = torch.arange(steps + 1, dtype=torch.float64)
        self.register_buffer("time_features", sinusoidal(labels, config.time_features).float())

    def clean(self, x: Tensor, time_features: Tensor) -> Tensor:
        """The predicted x_0 from ``x`` [B, width] at steps with ``time_features`` [B or 1, f]."""
        predicted: Tensor = self.leave(torch.tanh(self.enter(x) + self.time(time_features)))
        return predicted

    def forward(self, source: Tensor) -> Tensor:
        """The target half of x_0, reached from abar_T^(1/2) [u_s ; 0] by posterior means."""
        x = math.sqrt(self.kept[-1]) * nn.functional.pad(source, (0, self.target_dim))
        for step in range(len(self.kept) - 1, 0, -1):
            now, then = self.kept[step], self.kept[step - 1]
            # q(x_{t-1} | x_t, x_0) of Ho et al. 2020, eq. 7, alpha_t = now / then.
            of_x = math.sqrt(now / then) * (1.0 - then) / (1.0 - now)
            of_clean = math.sqrt(then) * (1.0 - now / then) / (1.0 - now)
            x = of_x * x + of_clean * self.clean(x, self.time_features[step : step + 1])
        return x[:, self.source_dim :]


class LDiffRec(LearnedModel[LDiffRecConfig]):
    """Minimises the squared error of the predicted x_0 of the overlap users, at a random step for each."""

    name = "ldiffrec"

    def learner(self, problem: TransferProblem, *, generator: torch.Generator) -> Learner:
        """A denoiser of [u_s ; u_t]."""
        config, base, target_base = self.config, problem.source_base, problem.target_base
        network = Denoiser(base.dim, target_base.dim, config=config, generator=generator)
        source = base.user_vectors[problem.overlap_source]
        target = target_base.user_vectors[problem.overlap_target]
        both = torch.cat([source, target], dim=1)
        optimizer = torch.optim.Adam(network.parameters(), lr=config.lr, fused=True)
        kept = torch.tensor(network.kept)

        def loss_of(users: Tensor, generator: torch.Generator) -> Tensor:
            clean = both[users]
            steps = torch.randint(1, config.steps + 1, (len(users),), generator=generator)
            masked = torch.rand(len(users), 1, generator=generator) < config.masked_share
            noise = torch.randn(clean.shape, generator=generator)
            given = torch.cat([clean[:, : base.dim], clean[:, base.dim :].masked_fill(masked, 0.0)], dim=1)
            share = kept[steps][:, None]
            noisy = share.sqrt() * given + (1.0 - share).sqrt() * noise
            return nn.functional.mse_loss(network.clean(noisy, network.time_features[steps]), clean)

        def train_epoch(generator: torch.Generator) -> dict[str, float]:
            total = torch.zeros((), dtype=torch.float64)
            for users in torch.split(torch.randperm(len(both), generator=generator), config.batch_size):
                loss = loss_of(users, generator)
                descend(optimizer, loss)
                total += loss.detach() * len(users)
            return {"denoising_loss": float(total) / len(both)}

        return Learner(
            module=network,
            transfer=network,
            is_affine=False,
            inputs=lambda: base.user_vectors,
            head=target_base.head,
            optimizers=[optimizer],
            train_epoch=train_epoch,
            rows=len(both),
            data=[both],
        )
