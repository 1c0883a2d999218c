"""EMCDR (Man et al. 2017): regress the target vector of an overlap user on the source vector."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from training.models.baselines.mapping import mapping_network, regression
from training.models.epoch_model import LearnedModel, Learner
from training.problem import TransferProblem
from training.setting_types import SelectBy, Settings


class EMCDRConfig(Settings):
    """EMCDR (Man et al. 2017), section ``[emcdr]``: regress target vectors on source vectors.

    Released code: ``linear``, lr 0.01, 10 epochs, batch 64 users.
    """

    mapping: Literal["linear", "mlp"] = "linear"
    """``linear``: one matrix, no bias. ``mlp``: one hidden tanh layer, as in the EMCDR paper."""
    hidden_dim: int = Field(default=20, ge=1)
    """Of ``mlp``; the EMCDR paper takes 2 k."""
    lr: float = Field(default=0.01, gt=0.0)
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=64, ge=1)
    weight_decay: float = Field(default=0.0, ge=0.0)
    select_by: SelectBy = "rmse"


class EMCDR(LearnedModel[EMCDRConfig]):
    """A linear map without bias, or one hidden tanh layer."""

    name = "emcdr"

    def learner(self, problem: TransferProblem, *, generator: torch.Generator) -> Learner:
        """The mean squared distance of mapped source vectors to target vectors of the overlap users."""
        config, source_dim, target_dim = self.config, problem.source_base.dim, problem.target_base.dim
        mapping = mapping_network(config, source_dim=source_dim, target_dim=target_dim, generator=generator)
        optimizer = torch.optim.Adam(mapping.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)
        return regression(
            mapping,
            problem,
            problem.target_base.user_vectors[problem.overlap_target],
            optimizer=optimizer,
            batch_size=config.batch_size,
            is_affine=config.mapping == "linear",
        )
