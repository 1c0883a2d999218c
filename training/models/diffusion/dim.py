"""DIM: the noise predictor eps_theta(x_t, t, c), three perceptron layers (paper, section 3.2 and 4.1)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from training.models.diffusion.schedule import time_labels
from training.models.layers import linear

Conditioning = Literal["input", "hidden"]
"""Where time and condition are added: to x, or to what the DIM's first layer makes of x."""


Activation = Literal["none", "silu"]


class NoisePredictor(nn.Module):
    """eps_theta(x, t, c) = layers(x + time_linear(sin and cos of t) + condition_linear(c)).

    Three linear layers, ``activation`` between them; without one the network is affine in x and c. Time and
    condition are each brought to x's width by one linear layer and added before the stack; with ``conditioning``
    ``hidden`` to the hidden width, and added to what the first layer makes of x.
    """

    def __init__(
        self,
        *,
        source_dim: int,
        target_dim: int,
        hidden_dim: int,
        time_features: int,
        activation: Activation,
        conditioning: Conditioning = "input",
        generator: torch.Generator,
    ) -> None:
        """``time_features``: width of the sinusoidal embedding, even. ``hidden`` conditioning needs an activation."""
        super().__init__()
        self.source_dim = source_dim
        self.target_dim = target_dim
        self.time_features = time_features
        self.is_affine = activation == "none"
        self.conditioning = conditioning
        width = target_dim if conditioning == "input" else hidden_dim
        self.time_linear = linear(time_features, width, generator=generator)
        self.condition_linear = linear(source_dim, width, generator=generator)
        self.first = linear(target_dim, hidden_dim, generator=generator)
        self.second = linear(hidden_dim, hidden_dim, generator=generator)
        self.third = linear(hidden_dim, target_dim, generator=generator)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Predicted noise [B, target_dim].

        ``x`` [B, target_dim]; ``t`` [B], float64, in [0, 1]; ``condition`` [B, source_dim], zeros where masked.
        """
        terms = self.time_term(t) + self.condition_linear(condition)
        entered = self.first(x + terms) if self.conditioning == "input" else self.first(x) + terms
        noise: Tensor = self.third(self.activate(self.second(self.activate(entered))))
        return noise

    def activate(self, values: Tensor) -> Tensor:
        """What stands between the layers; in place where nobody asks for gradients."""
        return values if self.is_affine else silu(values, inplace=not values.requires_grad)

    def time_term(self, t: Tensor) -> Tensor:
        """What times ``t`` [n] add, to x or to the first layer: [n, target_dim] or [n, hidden_dim]."""
        features = sinusoidal(time_labels(t), self.time_features)
        term: Tensor = self.time_linear(features.to(self.time_linear.weight.dtype))
        return term


def sinusoidal(labels: Tensor, features: int) -> Tensor:
    """[n] -> [n, features]: sines, then cosines, of ``labels`` at frequencies from 1 down towards 1e-4 (geometric)."""
    half = features // 2
    frequencies = torch.exp(torch.arange(half, dtype=labels.dtype, device=labels.device) * (-math.log(10_000.0) / half))
    angles = labels[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
