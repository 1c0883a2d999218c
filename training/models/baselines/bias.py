"""Item mean + the user's bias in the source domain: one number a user, and hard to beat on ratings."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field

from diffcdr.bundle.manifest import FoldInSpec
from training.evaluation.judging import held_out_errors
from training.models.contract import SourceFold, fitted
from training.models.table_model import Tables, TabularModel, mean_rating, shrunk_biases
from training.problem import ScoringHead, TransferProblem, rating_tensors
from training.setting_types import Settings


class BiasConfig(Settings):
    """Item mean + source user bias, section ``[bias]``."""

    item_shrinkage: float = Field(default=5.0, ge=0.0)
    """Ratings' worth of pull of an item's bias towards zero."""
    user_shrinkage: float = Field(default=5.0, ge=0.0)
    weights: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    """Weights of the source user bias to choose from on the validation users."""


class Bias(TabularModel):
    """rating(u, j) = target mean + b_j + w b_u, where b_u is how far u rates source items above their means.

    Biases are shrunk means of residuals; the weight w is the one of ``config.weights`` with the lowest clipped RMSE on
    the validation users (the first of equals; the largest where there are no validation ratings).
    """

    name = "bias"

    def __init__(self, config: BiasConfig) -> None:
        super().__init__()
        self.config = config
        self.weight = 0.0
        self._source_fold: SourceFold | None = None

    def solve(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """Source biases (items, then users), target item biases, then the weight."""
        config, source, target = self.config, problem.source, problem.target
        given, wanted = rating_tensors(source), rating_tensors(target)
        source_items = shrunk_biases(
            given.items,
            given.ratings - mean_rating(source),
            count=source.n_items,
            shrinkage=config.item_shrinkage,
        )
        mean = mean_rating(source)
        self._source_fold = SourceFold(
            FoldInSpec(kind="ridge", offset=mean, regularisation=(config.user_shrinkage,)),
            item_vectors=torch.ones(source.n_items, 1),
            item_biases=source_items,
        )
        users = shrunk_biases(
            given.users,
            given.ratings - mean - source_items[given.items],
            count=source.n_users,
            shrinkage=config.user_shrinkage,
        )[:, None]
        offset = mean_rating(target)
        items = shrunk_biases(
            wanted.items, wanted.ratings - offset, count=target.n_items, shrinkage=config.item_shrinkage
        )
        head = ScoringHead(torch.ones(target.n_items, 1), items, offset)
        self.weight = self._choose_weight(problem, users=users, head=head)
        return Tables(source_vectors=users, matrix=torch.tensor([[self.weight]]), head=head)

    def solve_again(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """With the weight that was chosen."""
        settled = self.config.model_copy(update={"weights": (self.weight,)})
        return Bias(settled).solve(problem, generator=generator)

    def source_fold(self) -> SourceFold:
        """A user's shrunk mean residual, as for the users of training."""
        return fitted(self._source_fold)

    def details(self) -> dict[str, Any]:
        """The settings, and the weight that was chosen."""
        return {**self.config.model_dump(mode="json"), "weight": self.weight}

    def _choose_weight(self, problem: TransferProblem, *, users: torch.Tensor, head: ScoringHead) -> float:
        held_out = problem.validation
        if not len(held_out.ratings):
            return max(self.config.weights)
        chosen = users[held_out.source_rows]

        def error(weight: float) -> float:
            return held_out_errors(chosen * weight, held_out, head=head, rating_range=problem.rating_range)["rmse"]

        return min(self.config.weights, key=error)
