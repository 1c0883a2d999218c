"""Item mean + the user's bias in the source domain: one number a user, and hard to beat on ratings."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from diffcdr.bundle.manifest import FoldInSpec
from training.evaluation.judging import held_out_errors
from training.models.contract import SourceFold, fitted
from training.models.table_model import Tables, TabularModel, mean_rating, shrunk_biases
from training.problem import ScoringHead, TransferProblem, rating_tensors
from training.rating_table import RatingTable
from training.setting_types import Settings


class BiasConfig(Settings):
    """Item mean + source user bias, section ``[bias]``. Lists are grids, chosen from on the validation users."""

    item_shrinkages: tuple[NonNegativeFloat, ...] = Field(default=(5.0,), min_length=1)
    """Ratings' worth of pull of an item's bias towards zero, in both domains."""
    user_shrinkages: tuple[NonNegativeFloat, ...] = Field(default=(5.0,), min_length=1)
    """The same of a user's bias."""
    weights: tuple[float, ...] = Field(default=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0), min_length=1)
    """Weights of the source user bias."""


@dataclass(frozen=True)
class BiasChoice:
    """What was chosen on the validation users."""

    item_shrinkage: float
    user_shrinkage: float
    weight: float


class Bias(TabularModel):
    """rating(u, j) = target mean + b_j + w b_u, where b_u is how far u rates source items above their means.

    Biases are shrunk means of residuals. The shrinkages and the weight w are those of the settings with the lowest
    clipped RMSE on the validation users, of equals the first; the first shrinkages and the largest weight where there
    are no validation ratings.
    """

    name = "bias"

    def __init__(self, config: BiasConfig) -> None:
        super().__init__()
        self.config = config
        self.choice: BiasChoice | None = None
        self._source_fold: SourceFold | None = None

    def solve(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """Every choice judged on the validation users."""
        config, weights = self.config, self.config.weights
        if not len(problem.validation.ratings):
            return self._settle(problem, BiasChoice(config.item_shrinkages[0], config.user_shrinkages[0], max(weights)))
        choices: dict[BiasChoice, float] = {}
        for item_shrinkage in config.item_shrinkages:
            sides = _Sides.of(problem, item_shrinkage)
            for user_shrinkage in config.user_shrinkages:
                chosen = sides.users(problem, user_shrinkage)[problem.validation.source_rows]
                for weight in weights:
                    errors = held_out_errors(
                        chosen * weight, problem.validation, head=sides.head, rating_range=problem.rating_range
                    )
                    choices[BiasChoice(item_shrinkage, user_shrinkage, weight)] = errors["rmse"]
        return self._settle(problem, min(choices, key=lambda choice: choices[choice]))

    def solve_again(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """As chosen."""
        return self._settle(problem, fitted(self.choice))

    def source_fold(self) -> SourceFold:
        """A user's shrunk mean residual, as for the users of training."""
        return fitted(self._source_fold)

    def details(self) -> dict[str, Any]:
        """The settings, and what was chosen."""
        return {**self.config.model_dump(mode="json"), **asdict(fitted(self.choice))}

    def _settle(self, problem: TransferProblem, choice: BiasChoice) -> Tables:
        sides = _Sides.of(problem, choice.item_shrinkage)
        self.choice = choice
        self._source_fold = SourceFold(
            FoldInSpec(kind="ridge", offset=mean_rating(problem.source), regularisation=(choice.user_shrinkage,)),
            item_vectors=torch.ones(problem.source.n_items, 1),
            item_biases=sides.source_items,
        )
        users = sides.users(problem, choice.user_shrinkage)
        return Tables(source_vectors=users, matrix=torch.tensor([[choice.weight]]), head=sides.head)


@dataclass(frozen=True)
class _Sides:
    """Biases of the items of both domains under one shrinkage."""

    source_items: Tensor
    head: ScoringHead

    @classmethod
    def of(cls, problem: TransferProblem, shrinkage: float) -> _Sides:
        def items(table: RatingTable) -> Tensor:
            given = rating_tensors(table)
            residuals = given.ratings - mean_rating(table)
            return shrunk_biases(given.items, residuals, count=table.n_items, shrinkage=shrinkage)

        source, target = problem.source, problem.target
        return cls(items(source), ScoringHead(torch.ones(target.n_items, 1), items(target), mean_rating(target)))

    def users(self, problem: TransferProblem, shrinkage: float) -> Tensor:
        """Source users' biases, [n_source_users, 1]."""
        source = problem.source
        given = rating_tensors(source)
        residuals = given.ratings - mean_rating(source) - self.source_items[given.items]
        return shrunk_biases(given.users, residuals, count=source.n_users, shrinkage=shrinkage)[:, None]
