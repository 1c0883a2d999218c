"""DIM: the noise predictor eps_theta(x_t, t, c), three perceptron layers (paper, section 3.2 and 4.1)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from training.models.diffusion.schedule import time_labels
from training.models.layers import linear
from training.setting_types import TimeFrequencies

Conditioning = Literal["input", "hidden"]
"""Where time and condition are added: to x (``input``), or to the output of the DIM's first layer (``hidden``)."""


Activation = Literal["none", "silu"]


class NoisePredictor(nn.Module):
    """eps_theta(x, t, c) = layers(x + time_linear(sin and cos of t) + kept condition_linear(c)).

    Three linear layers with ``activation`` between them; without one the network is affine in x and c. Linear layers
    map time and condition to the width of x, and both are added before the first layer. With ``conditioning``
    ``hidden`` they are mapped to the hidden width and added to the output of the first layer. The mask is applied after
    the condition's layer (paper, Figure 2): without condition, eps_theta(x, t) does not include its bias either.
    """

    def __init__(
        self,
        *,
        source_dim: int,
        target_dim: int,
        hidden_dim: int,
        time_features: int,
        time_frequencies: TimeFrequencies = "over_half",
        activation: Activation,
        conditioning: Conditioning = "input",
        generator: torch.Generator,
    ) -> None:
        """``time_features``, ``time_frequencies``: see :func:`sinusoidal`. ``hidden`` needs an activation."""
        super().__init__()
        self.source_dim = source_dim
        self.target_dim = target_dim
        self.time_features = time_features
        self.time_frequencies = time_frequencies
        self.is_affine = activation == "none"
        self.conditioning = conditioning
        width = target_dim if conditioning == "input" else hidden_dim
        self.time_linear = linear(time_features, width, generator=generator)
        self.condition_linear = linear(source_dim, width, generator=generator)
        self.first = linear(target_dim, hidden_dim, generator=generator)
        self.second = linear(hidden_dim, hidden_dim, generator=generator)
        self.third = linear(hidden_dim, target_dim, generator=generator)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor, *, kept: Tensor | None = None) -> Tensor:
        """Predicted noise [B, target_dim].

        ``x`` [B, target_dim]; ``t`` [B], float64, in [0, 1]; ``condition`` [B, source_dim]; ``kept`` bool [B, 1]: which
        rows have their condition, None for all.
        """
        condition_term = self.condition_linear(condition)
        terms = self.time_term(t) + (condition_term if kept is None else condition_term * kept)
        entered = self.first(x + terms) if self.conditioning == "input" else self.first(x) + terms
        noise: Tensor = self.third(self.activate(self.second(self.activate(entered))))
        return noise

    def activate(self, values: Tensor) -> Tensor:
        """The activation between layers; in place if no gradients are needed."""
        return values if self.is_affine else silu(values, inplace=not values.requires_grad)

    def time_term(self, t: Tensor) -> Tensor:
        """The term that times ``t`` [n] add to x or to the first layer: [n, target_dim] or [n, hidden_dim]."""
        features = sinusoidal(time_labels(t), self.time_features, self.time_frequencies)
        term: Tensor = self.time_linear(features.to(self.time_linear.weight.dtype))
        return term


def sinusoidal(labels: Tensor, features: int, spacing: TimeFrequencies = "over_half") -> Tensor:
    """[n] -> [n, features]: sines, then cosines, of ``labels`` at frequencies that fall geometrically from 1.

    Frequency i of h = ``features`` / 2 (``features`` even) is 10,000^(-i / h) with ``over_half`` (Vaswani et al. 2017,
    section 3.5) and 10,000^(-i / (h - 1)) with ``to_the_end``, where the last is 1e-4 (the code of Ho et al. 2020).
    """
    half = features // 2
    steps = half if spacing == "over_half" else max(half - 1, 1)
    numbers = torch.arange(half, dtype=labels.dtype, device=labels.device)
    frequencies = torch.exp(numbers * (-math.log(10_000.0) / steps))
    angles = labels[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
