"""Joint ALS: implicit-feedback ALS on both domains together; cold-start users are folded in by their source items.

A training overlap user is one row with the items of both domains. Users of one domain alone are left out: they would
teach that who has items there likes none of the other's. A user's vector is the half-step (Hu, Koren and Volinsky
2008) of the user's source items against the source items' vectors alone, for users of training as for new ones.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from pydantic import Field
from scipy import sparse

from diffcdr.bundle.manifest import FoldInSpec
from training.base_models.als import draw_seed, factorise, half_step
from training.evaluation.judging import Judge
from training.models.contract import SourceFold, fitted
from training.models.interactions.histories import Histories
from training.models.interactions.linear import ranking_head
from training.models.table_model import Tables, TabularModel
from training.problem import ImplicitFeedback, TransferProblem
from training.setting_types import Dim, Settings


class JointALSConfig(Settings):
    """Joint ALS, section ``[joint_als]``. Lists are grids, chosen from on the validation users."""

    dims: tuple[Dim, ...] = Field(default=(16, 8, 32, 64), min_length=1)
    """k; less where there are fewer users or items than that."""
    confidences: tuple[float, ...] = Field(default=(5.0, 10.0), min_length=1)
    """c of an item the user has; an item the user has not counts 1. Above 1."""
    regularisation: float = Field(default=0.05, gt=0.0)
    iterations: int = Field(default=10, ge=1)


@dataclass(frozen=True)
class JointALSChoice:
    """What was chosen on the validation users."""

    dim: int
    confidence: float


class JointALS(TabularModel):
    """See the module."""

    name = "joint_als"

    def __init__(self, config: JointALSConfig) -> None:
        super().__init__()
        self.config = config
        self._choice: JointALSChoice | None = None
        self._items: torch.Tensor | None = None

    def solve(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """Every k and confidence, and the best on the validation users; of equals the first."""
        seed, config, histories = draw_seed(generator), self.config, Histories.of(problem)
        best: tuple[float, JointALSChoice, Tables, torch.Tensor] | None = None
        for choice in (JointALSChoice(dim, c) for dim in config.dims for c in config.confidences):
            tables, items = self._fitted(histories, choice, seed=seed)
            judge = Judge(problem.validation, head=tables.head, rating_range=problem.rating_range)
            quality = judge(tables.source_vectors[problem.validation.source_rows])
            if best is None or quality > best[0]:
                best = quality, choice, tables, items
        _, self._choice, tables, self._items = fitted(best)
        return tables

    def solve_again(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """As chosen."""
        tables, self._items = self._fitted(Histories.of(problem), fitted(self._choice), seed=draw_seed(generator))
        return tables

    def rows(self, problem: TransferProblem) -> int:
        """The training overlap users."""
        return len(problem.overlap_source)

    def feedback(self, problem: TransferProblem) -> ImplicitFeedback:
        """The half-step of the fit."""
        return ImplicitFeedback(fitted(self._choice).confidence, self.config.regularisation)

    def source_fold(self) -> SourceFold:
        """The half-step against the source items."""
        items, feedback = fitted(self._items), fitted(self._choice)
        spec = FoldInSpec(kind="als", confidence=feedback.confidence, regularisation=(self.config.regularisation,))
        return SourceFold(spec, items, torch.zeros(len(items)))

    def details(self) -> dict[str, Any]:
        """The settings, and what was chosen."""
        return {**self.config.model_dump(mode="json"), **asdict(fitted(self._choice))}

    def _fitted(self, histories: Histories, choice: JointALSChoice, *, seed: int) -> tuple[Tables, torch.Tensor]:
        config, items = self.config, histories.source.shape[1]
        feedback = ImplicitFeedback(choice.confidence, config.regularisation)
        both = sparse.hstack([histories.source, histories.target], format="csr").astype(np.float32)
        vectors = factorise(both, feedback, dim=choice.dim, iterations=config.iterations, seed=seed)[1]
        users = half_step(histories.everyone.astype(np.float32), vectors[:items], feedback)
        head = ranking_head(vectors[items:], np.zeros(len(vectors) - items))
        source = torch.from_numpy(np.ascontiguousarray(vectors[:items]))
        return Tables(torch.from_numpy(users), torch.eye(users.shape[1]), head), source
