"""The popular list: the same items for everyone, most rated first."""

from __future__ import annotations

import torch

from training.models.table_model import Tables, TabularModel, mean_rating
from training.problem import ScoringHead, TransferProblem, rating_tensors
from training.setting_types import Settings


class PopularConfig(Settings):
    """The popular list, section ``[popular]``: nothing to set."""


MIN_SLOPE = 0.01


class Popular(TabularModel):
    """Items in order of their number of target ratings.

    The score is also the best rating prediction that popularity gives: a line through ratings against popularity,
    the latter as a rank among the different counts, from 0 to 1. Its slope is held at ``MIN_SLOPE`` or above, so that
    the order is that of popularity even where popular items are rated lower.
    """

    name = "popular"

    def __init__(self, config: PopularConfig) -> None:
        super().__init__()
        self.config = config

    def solve(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """Least squares on one variable."""
        target = problem.target
        columns = rating_tensors(target)
        counts = torch.bincount(columns.items, minlength=target.n_items)
        distinct, ranks = torch.unique(counts, sorted=True, return_inverse=True)
        popularity = ranks.double() / max(len(distinct) - 1, 1)
        offset = mean_rating(target)
        rated = popularity[columns.items]
        centre = rated.mean()
        spread = (rated - centre).square().sum()
        slope = float(((rated - centre) * (columns.ratings.double() - offset)).sum() / spread) if spread > 0 else 0.0
        biases = max(slope, MIN_SLOPE) * (popularity - centre)
        return Tables(
            source_vectors=torch.zeros(problem.source.n_users, 1),
            matrix=torch.eye(1),
            head=ScoringHead(torch.zeros(target.n_items, 1), biases.float(), offset),
        )
