"""Layers whose first values come from a generator that is passed in, never from the global random state."""

from __future__ import annotations

import math

import torch
from torch import nn


def linear(inputs: int, outputs: int, *, bias: bool = True, generator: torch.Generator) -> nn.Linear:
    """A linear layer started as PyTorch starts its own: all values uniform within 1 / sqrt(inputs)."""
    # Made without values, so that the global random state is neither read nor moved.
    layer = nn.Linear(inputs, outputs, bias=bias, device="meta").to_empty(device="cpu")
    bound = 1.0 / math.sqrt(inputs)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return layer
