"""From source vectors to target vectors: guidance (Eq. 3) around the DIM, the solver, then the ALM.

:func:`guided_noise` is Eq. 3 written out. :class:`Sampler` computes the same with what does not change taken out of
the loop: the term of a time is the bias of its first layer, the condition is a shift of x computed once, and the two
branches meet in the last layer, whose weight holds the guidance scale. That leaves three products a time and, beside
the activations, nothing as wide as the hidden layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from training.models.dim import NoisePredictor
from training.models.layers import product_by_rows
from training.models.solver import SolverPlan, Stage, solve


def guided_noise(
    predictor: NoisePredictor, x: Tensor, t: Tensor, *, condition: Tensor, guidance_scale: float
) -> Tensor:
    """Eq. 3: eps_u + s (eps_c - eps_u); eps_u is predicted for a condition of zeros. Two forward passes."""
    conditional: Tensor = predictor(x, t, condition)
    unconditional: Tensor = predictor(x, t, torch.zeros_like(condition))
    return unconditional + guidance_scale * (conditional - unconditional)


class Sampler(nn.Module):
    """``forward(source [B, source_dim]) -> [B, target_dim]``: the transfer, ready for tracing with a dynamic batch.

    Shares the predictor's and the alignment's parameters; the terms of time are computed at construction, so make a
    new one after the weights have changed. In evaluation mode, which they share too, a row of a block of one size
    gives the same bits at every place.
    """

    time_terms: Tensor
    initial_state: Tensor | None

    def __init__(
        self,
        predictor: NoisePredictor,
        plan: SolverPlan,
        *,
        guidance_scale: float,
        initial_state: Tensor | None,
        alignment: nn.Module,
    ) -> None:
        """``initial_state``: x_T for every user, [target_dim]; None starts from the source vector itself."""
        super().__init__()
        self._predictor = predictor
        self._alignment = alignment
        self._plan = plan
        self._scale = guidance_scale
        times = torch.tensor([stage.t for stage in plan.stages], dtype=torch.float64)
        with torch.no_grad():
            terms = predictor.time_term(times)
            terms = predictor.first(terms) if predictor.conditioning == "input" else terms + predictor.first.bias
        self.register_buffer("time_terms", terms)
        self.register_buffer("initial_state", initial_state)

    def forward(self, source: Tensor) -> Tensor:
        """Transfer ``source`` [B, source_dim]."""
        predictor, product = self._predictor, self._product
        shifts = self._shifts(source)
        last = predictor.third.weight
        if self._scale != 1.0:
            last = torch.cat([last * (1.0 - self._scale), last * self._scale], dim=1)

        def noise(x: Tensor, stage: Stage) -> Tensor:
            # Both branches of a user lie one after the other: as rows for the wide layers, as one row for the last.
            hidden = predictor.activation(self._entered(x, shifts, self.time_terms[stage.index]))
            hidden = predictor.activation(product(hidden, predictor.second.weight, predictor.second.bias))
            return product(hidden.reshape(-1, last.shape[1]), last, predictor.third.bias)

        start = source if self.initial_state is None else self.initial_state.expand(source.shape[0], -1)
        aligned: Tensor = self._alignment(solve(noise, start, self._plan))
        return aligned

    def _entered(self, x: Tensor, shifts: Tensor, time_term: Tensor) -> Tensor:
        """Before the first activation: [B x branches, hidden_dim]."""
        weight = self._predictor.first.weight
        if self._predictor.conditioning == "input":
            return self._product((x[:, None] + shifts).reshape(-1, x.shape[1]), weight, time_term)
        return (self._product(x, weight, time_term)[:, None] + shifts).reshape(-1, weight.shape[0])

    def _product(self, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return linear(rows, weight, bias) if self.training else product_by_rows(rows, weight.T, bias)

    def _shifts(self, source: Tensor) -> Tensor:
        """What the condition adds, to x or to the first layer: [B, 2, …], unconditional first; [B, 1, …] for s = 1."""
        conditional: Tensor = self._predictor.condition_linear(source)
        if self._scale == 1.0:
            return conditional[:, None]
        return torch.stack([self._predictor.condition_linear.bias.expand_as(conditional), conditional], dim=1)
