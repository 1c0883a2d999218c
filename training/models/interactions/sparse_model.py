"""Models that consist of a sparse term, with popularity for items that no neighbour reaches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import numpy as np
import torch
from scipy import sparse

from diffcdr.arrays import Float64Array
from diffcdr.bundle.manifest import FoldInSpec
from training.evaluation.judging import ScoreJudge
from training.models.contract import SourceFold, fitted
from training.models.interactions.histories import Histories
from training.models.interactions.linear import ranking_head
from training.models.sparse_term import SparseTerm
from training.models.table_model import Tables, TabularModel
from training.problem import TransferProblem

Choice = TypeVar("Choice", bound=Hashable)
POPULARITY_SHARE = 1e-6
"""Score of the most popular item by its popularity, in the largest entries of the table."""


class SparseModel(TabularModel, Generic[Choice]):
    """score(x, j) = sum over the items i of x of weight_i S_ij, settings chosen on the validation users.

    A popular item has a millionth of the table's largest entry on top: it orders items that no neighbour touches.
    """

    def __init__(self) -> None:
        super().__init__()
        self._choice: Choice | None = None

    @abstractmethod
    def choices(self) -> Sequence[Choice]:
        """What to choose from; of equals the first is taken."""

    @abstractmethod
    def term(self, histories: Histories) -> Callable[[Choice], SparseTerm]:
        """A function from a choice to its term, after the work that choices share."""

    def solve(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """Every choice judged on the validation users."""
        histories = Histories.of(problem)
        term, judge = self.term(histories), ScoreJudge(problem.validation)
        shown = sparse.csr_array(histories.everyone[problem.validation.source_rows.numpy()])

        def quality(choice: Choice) -> float:
            made = term(choice)
            biases = _popularity(histories, made)
            return judge(lambda part: _scores(made, sparse.csr_array(shown[part])) + biases)

        choices = self.choices()
        self._choice = choices[0] if len(choices) == 1 else max(choices, key=quality)
        return self._served(histories, term(self._choice))

    def solve_again(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """As chosen."""
        histories = Histories.of(problem)
        return self._served(histories, self.term(histories)(fitted(self._choice)))

    def rows(self, problem: TransferProblem) -> int:
        """The training overlap users."""
        return len(problem.overlap_source)

    def source_fold(self) -> SourceFold:
        """Any history is one that the sparse term takes; the vector stays 0."""
        items = fitted(self.sparse_term()).neighbours.shape[0]
        spec = FoldInSpec(kind="ridge", regularisation=(1.0,))
        return SourceFold(spec, torch.zeros(items, 1), torch.zeros(items))

    def _served(self, histories: Histories, term: SparseTerm) -> Tables:
        head = ranking_head(np.zeros((len(histories.counts), 1)), _popularity(histories, term))
        return Tables(torch.zeros(histories.everyone.shape[0], 1), torch.eye(1), head, sparse_term=term)


def _popularity(histories: Histories, term: SparseTerm) -> Float64Array:
    largest = float(term.neighbours.data.max(initial=0.0)) or 1.0
    return np.asarray(POPULARITY_SHARE * largest * histories.counts / max(float(histories.counts.max()), 1.0))


def _scores(term: SparseTerm, histories: sparse.csr_array) -> Float64Array:
    """[U, n] of binary ``histories`` [U, m], to choose by."""
    weights = term.item_weights.astype(np.float64)
    lengths = np.sqrt(histories @ np.square(weights)) ** term.length_power
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    weighted = sparse.diags_array(scale) @ histories @ sparse.diags_array(weights)
    return np.asarray((weighted @ term.neighbours.astype(np.float64)).toarray())
