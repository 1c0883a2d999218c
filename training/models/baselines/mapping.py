"""The mapping network of EMCDR, SSCDR, TMCDR and DCDCSR, and its regression onto target vectors."""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from training.models.epoch_model import Learner, descend
from training.models.layers import linear
from training.problem import TransferProblem


class MappingSettings(Protocol):
    """The settings that shape the network."""

    @property
    def mapping(self) -> Literal["linear", "mlp"]:
        """``linear``: one matrix. ``mlp``: one hidden layer."""

    @property
    def hidden_dim(self) -> int:
        """Of ``mlp``."""


def mapping_network(
    config: MappingSettings, *, source_dim: int, target_dim: int, bias: bool = False, generator: torch.Generator
) -> nn.Sequential:
    """Untrained, [B, source_dim] -> [B, target_dim]: one matrix (with a bias or not), or one hidden tanh layer."""
    if config.mapping == "linear":
        return nn.Sequential(linear(source_dim, target_dim, bias=bias, generator=generator))
    return nn.Sequential(
        linear(source_dim, config.hidden_dim, generator=generator),
        nn.Tanh(),
        linear(config.hidden_dim, target_dim, generator=generator),
    )


def regression(
    mapping: nn.Sequential,
    problem: TransferProblem,
    wanted: Tensor,
    *,
    optimizer: torch.optim.Optimizer,
    batch_size: int,
    is_affine: bool,
) -> Learner:
    """Minimises the mean squared distance of the overlap users' mapped source vectors to ``wanted`` [O, target_dim]."""
    base = problem.source_base
    source = base.user_vectors[problem.overlap_source]

    def train_epoch(generator: torch.Generator) -> dict[str, float]:
        total = torch.zeros((), dtype=torch.float64)
        for users in torch.split(torch.randperm(len(source), generator=generator), batch_size):
            loss = nn.functional.mse_loss(mapping(source[users]), wanted[users])
            descend(optimizer, loss)
            total += loss.detach() * len(users)
        return {"mapping_loss": float(total) / len(source)}

    return Learner(
        module=mapping,
        transfer=mapping,
        is_affine=is_affine,
        inputs=lambda: base.user_vectors,
        head=problem.target_base.head,
        optimizers=[optimizer],
        train_epoch=train_epoch,
        rows=len(source),
        data=[source, wanted],
    )
