"""ALM, the alignment module: one k x k linear layer without bias (paper, section 3.3 and Eq. 6)."""

from __future__ import annotations

import torch
from torch import nn

from training.models.layers import linear


def alignment_module(dim: int, *, generator: torch.Generator) -> nn.Linear:
    """An untrained ALM: solved target vectors [B, dim] -> aligned target vectors [B, dim]."""
    return linear(dim, dim, bias=False, generator=generator)
