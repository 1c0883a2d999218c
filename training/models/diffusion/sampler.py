"""Transfers source vectors to target vectors: guidance (Eq. 3) around the DIM, the solver, then the ALM.

:func:`guided_noise` is Eq. 3 literally. :class:`Sampler` computes the same, with constants taken out of the loop: the
term of a time is the bias of its first layer; the condition is a shift of x computed once; and the two branches meet in
the last layer, whose weight includes the guidance scale. That leaves three products per time, and apart from the
activations no other work as wide as the hidden layers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from training.models.diffusion.dim import NoisePredictor
from training.models.diffusion.solver import SolverPlan, Stage, solve
from training.models.layers import RowProduct, filled_up


def guided_noise(
    predictor: NoisePredictor, x: Tensor, t: Tensor, *, condition: Tensor, guidance_scale: float
) -> Tensor:
    """Eq. 3: eps_u + s (eps_c - eps_u); eps_u is predicted with every condition masked. Two forward passes."""
    conditional: Tensor = predictor(x, t, condition)
    none_kept = torch.zeros(len(x), 1, dtype=torch.bool, device=x.device)
    unconditional: Tensor = predictor(x, t, condition, kept=none_kept)
    return unconditional + guidance_scale * (conditional - unconditional)


class Sampler(nn.Module):
    """``forward(source [B, inputs]) -> [B, target_dim]``: the transfer, ready for tracing with a dynamic batch.

    The inputs are those of :class:`~training.models.diffusion.folding.AffineMap`: a source vector, then all draws.

    It shares the parameters and the mode of the predictor and the alignment. The terms of time are computed at
    construction, so make a new one after the weights have changed. In evaluation mode, a row gives the same bits at
    every position of a block of one size.
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
        """Transfer ``source`` [B, inputs]."""
        predictor, fill = self._predictor, self._fill
        dim, width = predictor.source_dim, predictor.target_dim
        draws = [fill(source[:, dim + n * width : dim + (n + 1) * width]) for n in range(self._plan.draws)]
        source = source[:, :dim] if draws else source
        first, second = self._layer(fill(predictor.first.weight)), self._layer(predictor.second.weight)
        both = self._last()
        last, last_bias = self._layer(fill(both.T).T), fill(predictor.third.bias)
        shifts = self._shifts(source)
        by_input = predictor.conditioning == "input"
        shifts = fill(shifts) if by_input else shifts

        def noise(x: Tensor, stage: Stage) -> Tensor:
            # Both branches of a user are adjacent: two rows for the wide layers, one row for the last.
            time_term = self.time_terms[stage.index]
            if by_input:
                hidden = first((x[:, None] + shifts).reshape(-1, x.shape[1]), time_term)
            else:
                hidden = (first(x, time_term)[:, None] + shifts).reshape(-1, shifts.shape[2])
            hidden = predictor.activate(second(predictor.activate(hidden), predictor.second.bias))
            return last(hidden.reshape(-1, both.shape[1]), last_bias)

        start = source if self.initial_state is None else self.initial_state.expand(source.shape[0], -1)
        solved = solve(noise, fill(start), self._plan, draws=draws)[:, : predictor.target_dim]
        aligned: Tensor = self._alignment(solved)
        return aligned

    def _fill(self, values: Tensor) -> Tensor:
        """Pad with columns of zeros, which x keeps through the solver, so that no product has to skip them."""
        return values if self.training else filled_up(values)

    def _layer(self, weight: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """(rows [B, inputs], bias) -> [B, outputs]."""
        return (lambda rows, bias: linear(rows, weight, bias)) if self.training else RowProduct(weight.T)

    def _last(self) -> Tensor:
        """The last layer's weight for both branches: guidance (Eq. 3) is a sum of the two."""
        last = self._predictor.third.weight
        return last if self._scale == 1.0 else torch.cat([last * (1.0 - self._scale), last * self._scale], dim=1)

    def _shifts(self, source: Tensor) -> Tensor:
        """The term of the condition, for x or the first layer: [B, 2, …], unconditional first; [B, 1, …] for s = 1."""
        conditional: Tensor = self._predictor.condition_linear(source)
        if self._scale == 1.0:
            return conditional[:, None]
        return torch.stack([torch.zeros_like(conditional), conditional], dim=1)
