"""The network that EMCDR and SSCDR carry users by."""

from __future__ import annotations

import torch
from torch import nn

from training.configs_baselines import SSCDRConfig
from training.models.layers import linear
from training.setting_types import EMCDRConfig


def mapping_network(
    config: EMCDRConfig | SSCDRConfig, *, source_dim: int, target_dim: int, generator: torch.Generator
) -> nn.Sequential:
    """Untrained, [B, source_dim] -> [B, target_dim]: one matrix without bias, or one hidden tanh layer."""
    if config.mapping == "linear":
        return nn.Sequential(linear(source_dim, target_dim, bias=False, generator=generator))
    return nn.Sequential(
        linear(source_dim, config.hidden_dim, generator=generator),
        nn.Tanh(),
        linear(config.hidden_dim, target_dim, generator=generator),
    )
