"""Ridge: the best affine map in closed form, with a pull towards the average user. Fast, and hard to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from training.fit.checkpoint import CheckpointFile
from training.models.base import FitReport, Progress, ScoringHead, TransferModel, TransferProblem, fitted
from training.models.batching import blockwise
from training.models.configs_baselines import RidgeConfig
from training.models.ridge_path import Float64Array, RidgePath
from training.models.validation import Judge, held_out_errors


@dataclass(frozen=True)
class _Fitted:
    source: Tensor
    matrix: Tensor
    offset: Tensor
    head: ScoringHead
    strength: float


class Ridge(TransferModel):
    """u_t ~ u_s A + b, least squares over the training overlap users with a penalty on A alone.

    The strength is chosen on the validation users: by clipped RMSE where scores are ratings, by NDCG elsewhere. Of
    equals the strongest is taken, so also where there are no validation ratings.
    """

    name = "ridge"

    def __init__(self, config: RidgeConfig) -> None:
        self.config = config
        self._fitted: _Fitted | None = None

    def fit(
        self,
        problem: TransferProblem,
        *,
        generator: torch.Generator,
        progress: Progress | None = None,
        checkpoint: CheckpointFile | None = None,
    ) -> FitReport:
        """Solve, in one "epoch"; there is nothing to resume, so ``checkpoint`` is left alone."""
        source, head, held_out = problem.source_base.user_vectors, problem.target_base.head(), problem.validation
        judge = Judge(held_out, head=head, rating_range=problem.rating_range)
        shown = source[held_out.source_rows].double()
        # One thread: what is chosen must not depend on the number of cores.
        with threadpool_limits(limits=1):
            path = RidgePath(
                source[problem.overlap_source].double().numpy(),
                problem.target_base.user_vectors[problem.overlap_target].double().numpy(),
            )

            def quality(strength: float) -> float:
                matrix, offset = (torch.from_numpy(part) for part in path.fit(strength))
                return judge(_affine(shown, matrix, offset).float())

            strength = max(sorted(self.config.strengths, reverse=True), key=quality)
            solution: tuple[Float64Array, Float64Array] = path.fit(strength)
        self._fitted = _Fitted(source, torch.from_numpy(solution[0]), torch.from_numpy(solution[1]), head, strength)
        carried = self.transfer(source[held_out.source_rows])
        if head.objective == "rating":
            figures = held_out_errors(carried, held_out, head=head, rating_range=problem.rating_range)
        else:
            figures = {"ndcg": judge(carried)}
        if progress is not None:
            progress(epoch=1, epochs=1, rows=len(problem.overlap_source), figures=figures)
        return FitReport(epochs=[figures], best_epoch=1, rows=len(problem.overlap_source))

    def source_vectors(self) -> Tensor:
        """The source base model's user vectors."""
        return fitted(self._fitted).source

    def head(self) -> ScoringHead:
        """The target base model's items."""
        return fitted(self._fitted).head

    def transfer(self, vectors: Tensor) -> Tensor:
        """``vectors A + b``."""
        state = fitted(self._fitted)
        return _affine(vectors, state.matrix.to(vectors.dtype), state.offset.to(vectors.dtype))

    def fold(self) -> tuple[Tensor, Tensor]:
        """A and b."""
        state = fitted(self._fitted)
        return state.matrix, state.offset

    def export_module(self) -> nn.Module | None:
        """None: the fold says it all."""
        return None

    def details(self) -> dict[str, Any]:
        """The settings, and the strength that was chosen."""
        return {**self.config.model_dump(mode="json"), "strength": fitted(self._fitted).strength}


def _affine(vectors: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    return blockwise(lambda rows: rows @ matrix + offset, vectors, width=matrix.shape[1])
