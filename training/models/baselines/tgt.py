"""TGT: the target base model alone, which has no data on a cold-start user (paper, section 4.1)."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field

from training.models.table_model import Tables, TabularModel
from training.problem import TransferProblem
from training.setting_types import Settings


class TGTConfig(Settings):
    """Target-domain matrix factorisation alone, section ``[tgt]``."""

    init_std: float = Field(default=0.1, gt=0.0)
    """Spread of an unseen user's untrained vector; the base model's ``init_std`` (released code: 1)."""


class TGT(TabularModel):
    """A cold-start user has the vector that an untrained user of the target model has: N(0, init_std^2), by seed.

    The source says nothing here; so the untrained vectors are drawn for each source user and carried over as they are.
    """

    name = "tgt"

    def __init__(self, config: TGTConfig) -> None:
        super().__init__()
        self.config = config

    def solve(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """Draw the untrained vectors."""
        base = problem.target_base
        return Tables(
            source_vectors=self.config.init_std * torch.randn(problem.source.n_users, base.dim, generator=generator),
            matrix=torch.eye(base.dim),
            head=base.head(),
        )

    def details(self) -> dict[str, Any]:
        """The settings."""
        return self.config.model_dump(mode="json")
