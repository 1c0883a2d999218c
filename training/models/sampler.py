"""From source vectors to target vectors: guidance (Eq. 3) around the DIM, the solver, then the ALM.

:func:`guided_noise` is Eq. 3 written out. :class:`Sampler` computes the same with what does not change taken out of
the loop: time and condition go through the first layer once, x goes through it once for both branches, and the two
branches meet before the last layer, which is linear. That leaves one small and one double-width product a time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.models.dim import NoisePredictor
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
    new one after the weights have changed.
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
            terms = nn.functional.linear(predictor.time_term(times), predictor.first.weight)
        self.register_buffer("time_terms", terms)
        self.register_buffer("initial_state", initial_state)

    def forward(self, source: Tensor) -> Tensor:
        """Transfer ``source`` [B, source_dim]; a row's result depends on that row only."""
        branches = self._branches(source)
        predictor = self._predictor

        def noise(x: Tensor, stage: Stage) -> Tensor:
            shared = nn.functional.linear(x, predictor.first.weight) + self.time_terms[stage.index]
            hidden = predictor.activation(predictor.second(predictor.activation(shared + branches)))
            mixed = hidden[0] if self._scale == 1.0 else hidden[0] * (1.0 - self._scale) + hidden[1] * self._scale
            predicted: Tensor = predictor.third(mixed)
            return predicted

        start = source if self.initial_state is None else self.initial_state.expand(source.shape[0], -1)
        aligned: Tensor = self._alignment(solve(noise, start, self._plan))
        return aligned

    def _branches(self, source: Tensor) -> Tensor:
        """What enters the first layer beside x and t: [2, B, hidden], unconditional first; [1, B, hidden] for s = 1."""
        predictor = self._predictor
        conditional: Tensor = predictor.first(predictor.condition_linear(source))
        if self._scale == 1.0:
            return conditional[None]
        return torch.stack([predictor.first(predictor.condition_linear(torch.zeros_like(source))), conditional])
