"""The mapping network of EMCDR, SSCDR and TMCDR."""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import nn

from training.models.layers import linear


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
