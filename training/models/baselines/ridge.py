"""Ridge: the best affine map in closed form, shrunk towards the average user. Fast, and hard to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field

from training.evaluation.judging import Judge
from training.models.batching import affine_blockwise
from training.models.closed_form.ridge_path import RidgePath
from training.models.contract import fitted
from training.models.table_model import Tables, TabularModel
from training.problem import TransferProblem
from training.setting_types import Settings


class RidgeConfig(Settings):
    """Ridge regression of target vectors on source vectors, section ``[ridge]``."""

    strengths: tuple[float, ...] = Field(default=(0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0), min_length=1)
    """Regularisation to choose from on the validation users, in mean eigenvalues of the source scatter matrix."""


class Ridge(TabularModel):
    """u_t ~ u_s A + b, least squares over the training overlap users with a penalty on A alone.

    The strength is chosen on the validation users: by clipped RMSE where scores are ratings, by NDCG elsewhere. Of
    equals the strongest is taken, so also where there are no validation ratings.
    """

    name = "ridge"

    def __init__(self, config: RidgeConfig) -> None:
        super().__init__()
        self.config = config
        self._strength: float | None = None

    def solve(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """One eigendecomposition, every strength, and the best on the validation users."""
        path = _path(problem)
        self._strength, _ = _best(problem, path, self.config.strengths)
        return _tables(problem, path, self._strength)

    def solve_again(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """Solve at the chosen strength."""
        return _tables(problem, _path(problem), fitted(self._strength))

    def rows(self, problem: TransferProblem) -> int:
        """The training overlap users."""
        return len(problem.overlap_source)

    def details(self) -> dict[str, Any]:
        """The settings, and the strength that was chosen."""
        return {**self.config.model_dump(mode="json"), "strength": fitted(self._strength)}


def ridge_quality(problem: TransferProblem, strengths: Sequence[float]) -> float:
    """How good the best of these ridge maps is on the validation users (:class:`Judge`): a probe of base models."""
    return _best(problem, _path(problem), strengths)[1]


def _best(problem: TransferProblem, path: RidgePath, strengths: Sequence[float]) -> tuple[float, float]:
    """(strength, quality) with the best quality; of equals, the strongest."""
    judge = Judge(problem.validation, head=problem.target_base.head(), rating_range=problem.rating_range)
    shown = problem.source_base.user_vectors[problem.validation.source_rows].double()
    judged = []
    for strength in sorted(strengths, reverse=True):
        matrix, offset = (torch.from_numpy(part) for part in path.fit(strength))
        judged.append((strength, judge(affine_blockwise(shown, matrix, offset).float())))
    return max(judged, key=lambda pair: pair[1])


def _path(problem: TransferProblem) -> RidgePath:
    return RidgePath(
        problem.source_base.user_vectors[problem.overlap_source].double().numpy(),
        problem.target_base.user_vectors[problem.overlap_target].double().numpy(),
    )


def _tables(problem: TransferProblem, path: RidgePath, strength: float) -> Tables:
    matrix, offset = (torch.from_numpy(part) for part in path.fit(strength))
    return Tables(problem.source_base.user_vectors, matrix, problem.target_base.head(), offset)
