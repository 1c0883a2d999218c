"""What the closed-form models share: tables in place of weights, and an affine map between them."""

from __future__ import annotations

import copy
from abc import abstractmethod
from dataclasses import dataclass
from typing import Self

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from training.evaluation.judging import held_out_figures
from training.fitting.checkpoint import CheckpointFile
from training.fitting.loop import FitReport, Progress
from training.models.batching import affine_blockwise
from training.models.contract import TransferModel, fitted
from training.models.sparse_term import SparseTerm, sparse_part
from training.problem import ScoringHead, TransferProblem, rating_tensors
from training.rating_table import RatingTable


@dataclass(frozen=True)
class Tables:
    """A fitted closed-form model: ``source_vectors`` [n, s], target vector = source vector @ ``matrix`` + ``offset``.

    ``matrix`` [s, t]; ``offset`` [t], None for zero; ``sparse_term``: added to the scores of ``head``.
    """

    source_vectors: Tensor
    matrix: Tensor
    head: ScoringHead
    offset: Tensor | None = None
    sparse_term: SparseTerm | None = None


class TabularModel(TransferModel):
    """A model without epochs: :meth:`solve` computes its tables at once."""

    def __init__(self) -> None:
        self._tables: Tables | None = None

    @abstractmethod
    def solve(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """The tables of this model for ``problem``."""

    def solve_again(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """The tables for ``problem`` with the choices that :meth:`solve` has made; a model without choices solves.

        Called on a copy (:meth:`refit`): what it keeps in ``self`` besides is the refitted model's own.
        """
        return self.solve(problem, generator=generator)

    def refit(self, problem: TransferProblem, *, generator: torch.Generator) -> Self:
        """This model as it comes out of ``problem`` with the choices it has made: nothing is chosen again.

        For once every choice has been made: ``problem`` may then hold the validation users among the training users.
        """
        again = copy.copy(self)
        with threadpool_limits(limits=1):
            again._tables = again.solve_again(problem, generator=generator)
        return again

    def rows(self, problem: TransferProblem) -> int:
        """What :meth:`solve` learns from, counted: the target ratings, unless a model says otherwise."""
        return len(problem.target)

    def fit(
        self,
        problem: TransferProblem,
        *,
        generator: torch.Generator,
        progress: Progress | None = None,
        checkpoint: CheckpointFile | None = None,
    ) -> FitReport:
        """Solve, in one "epoch"; there is nothing to resume, so ``checkpoint`` is left alone."""
        # One thread: what is chosen must not depend on the number of cores.
        with threadpool_limits(limits=1):
            self._tables = self.solve(problem, generator=generator)
        held_out, rows = problem.validation, self.rows(problem)
        vectors = self.transfer(self.source_vectors()[held_out.source_rows])
        figures = held_out_figures(
            vectors,
            held_out,
            head=self.head(),
            rating_range=problem.rating_range,
            sparse=sparse_part(self.sparse_term(), problem.source, held_out.source_rows),
        )
        if progress is not None:
            progress(epoch=1, epochs=1, rows=rows, figures=figures)
        return FitReport(epochs=[figures], best_epoch=1, rows=rows)

    def source_vectors(self) -> Tensor:
        """This model's own source table."""
        return fitted(self._tables).source_vectors

    def head(self) -> ScoringHead:
        """This model's own item tables."""
        return fitted(self._tables).head

    def sparse_term(self) -> SparseTerm | None:
        """This model's own sparse term, or None."""
        return fitted(self._tables).sparse_term

    def transfer(self, vectors: Tensor) -> Tensor:
        """The affine map, in the dtype of ``vectors``."""
        matrix, offset = self.fold()
        return affine_blockwise(vectors, matrix.to(vectors.dtype), offset.to(vectors.dtype))

    def fold(self) -> tuple[Tensor, Tensor]:
        """The affine map, in float64."""
        tables = fitted(self._tables)
        matrix = tables.matrix.double()
        return matrix, matrix.new_zeros(matrix.shape[1]) if tables.offset is None else tables.offset.double()


def mean_rating(table: RatingTable) -> float:
    """The mean of all ratings."""
    return float(rating_tensors(table).ratings.double().mean())


def shrunk_biases(rows: Tensor, residuals: Tensor, *, count: int, shrinkage: float) -> Tensor:
    """Per row, the sum of its residuals over (their number + ``shrinkage``): float32 [count], 0 for a row without any.

    ``rows`` int64 [R], ``residuals`` [R]. Summed in float64.
    """
    numbers = torch.bincount(rows, minlength=count).double()
    sums = torch.zeros(count, dtype=torch.float64).index_add_(0, rows, residuals.double())
    # A row without ratings divides 0 by the larger of the shrinkage and 1.
    return (sums / (numbers + shrinkage).clamp(min=1e-12 if shrinkage else 1.0)).float()
