"""What the closed-form models share: tables in place of weights, and an affine map between them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from training.fit.checkpoint import CheckpointFile
from training.models.base import (
    FitReport,
    Progress,
    RatingTable,
    ScoringHead,
    TransferModel,
    TransferProblem,
    fitted,
)
from training.models.batching import blockwise
from training.models.validation import held_out_errors


@dataclass(frozen=True)
class Tables:
    """A fitted closed-form model: ``source_vectors`` [n, s], target vector = source vector @ ``matrix`` [s, t]."""

    source_vectors: Tensor
    matrix: Tensor
    head: ScoringHead


class TabularModel(TransferModel):
    """A model without epochs: :meth:`solve` computes its tables at once."""

    def __init__(self) -> None:
        self._tables: Tables | None = None

    @abstractmethod
    def solve(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """The tables of this model for ``problem``."""

    def fit(
        self,
        problem: TransferProblem,
        *,
        generator: torch.Generator,
        progress: Progress | None = None,
        checkpoint: CheckpointFile | None = None,
    ) -> FitReport:
        """Solve, in one "epoch"; there is nothing to resume, so ``checkpoint`` is left alone."""
        self._tables = self.solve(problem, generator=generator)
        held_out = problem.validation
        vectors = self.transfer(self.source_vectors()[held_out.source_rows])
        figures = held_out_errors(vectors, held_out, head=self.head(), rating_range=problem.rating_range)
        if progress is not None:
            progress(epoch=1, epochs=1, rows=len(problem.target), figures=figures)
        return FitReport(epochs=[figures], best_epoch=1, rows=len(problem.target))

    def source_vectors(self) -> Tensor:
        """This model's own source table."""
        return fitted(self._tables).source_vectors

    def head(self) -> ScoringHead:
        """This model's own item tables."""
        return fitted(self._tables).head

    def transfer(self, vectors: Tensor) -> Tensor:
        """``vectors @ matrix``."""
        matrix = fitted(self._tables).matrix.to(vectors.dtype)
        return blockwise(lambda rows: rows @ matrix, vectors, width=matrix.shape[1])

    def fold(self) -> tuple[Tensor, Tensor]:
        """The matrix, and zero."""
        matrix = fitted(self._tables).matrix.double()
        return matrix, matrix.new_zeros(matrix.shape[1])


def mean_rating(table: RatingTable) -> float:
    """The mean of all ratings."""
    return float(table.ratings.double().mean())


def shrunk_biases(rows: Tensor, residuals: Tensor, *, count: int, shrinkage: float) -> Tensor:
    """Per row, the sum of its residuals over (their number + ``shrinkage``): float32 [count], 0 for a row without any.

    ``rows`` int64 [R], ``residuals`` [R]. Summed in float64.
    """
    numbers = torch.bincount(rows, minlength=count).double()
    sums = torch.zeros(count, dtype=torch.float64).index_add_(0, rows, residuals.double())
    # A row without ratings divides 0 by the larger of the shrinkage and 1.
    return (sums / (numbers + shrinkage).clamp(min=1e-12 if shrinkage else 1.0)).float()
