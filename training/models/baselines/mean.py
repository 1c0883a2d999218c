"""The mean baseline, which every rating model should beat."""

from __future__ import annotations

import torch

from training.models.table_model import Tables, TabularModel, mean_rating
from training.problem import ScoringHead, TransferProblem
from training.setting_types import Settings


class MeanConfig(Settings):
    """Always the target domain's mean rating, section ``[mean]``: nothing to set."""


class Mean(TabularModel):
    """Every rating is predicted as the mean rating of the target domain; every item scores the same."""

    name = "mean"

    def __init__(self, config: MeanConfig) -> None:
        super().__init__()
        self.config = config

    def solve(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """One dimension of zeros."""
        items = problem.target.n_items
        return Tables(
            source_vectors=torch.zeros(problem.source.n_users, 1),
            matrix=torch.eye(1),
            head=ScoringHead(torch.zeros(items, 1), torch.zeros(items), mean_rating(problem.target)),
        )
