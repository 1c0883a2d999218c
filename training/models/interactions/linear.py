"""Models whose scores are linear in a user's weighted history, and the form in which they are served.

    scores(x) = biases + (x * weights / |x * weights|) B        x binary [m], B [m, n]

B is never written out: it is a product of sparse and small factors. What is served is its best approximation of rank
d for the histories of the training users F = X B: with the d leading right singular vectors V of F,

    source vector = (x * weights / |x * weights|) (B V)         target vector = source vector        item vectors = V

which is exact where F has rank d or less. The source vector is the history feature of a bundle (``HistorySpec``), so
that a history brought by a request gives what training gives.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from diffcdr.arrays import Float64Array
from diffcdr.bundle.manifest import FoldInSpec, HistorySpec
from training.base_models.als import draw_seed
from training.evaluation.judging import ScoreJudge
from training.models.contract import SourceFold, fitted
from training.models.history import HistoryMap, unit_rows
from training.models.interactions.histories import Histories
from training.models.table_model import Tables, TabularModel
from training.problem import ImplicitFeedback, ScoringHead, TransferProblem

Choice = TypeVar("Choice", bound=Hashable)
FEEDBACK = ImplicitFeedback(confidence=10.0, regularisation=0.05)
"""How the first target ratings of a user count against scores that stand for 0 and 1."""
OVERSAMPLING, POWER_ITERATIONS = 10, 3
SMALLEST = 1e-12


@dataclass(frozen=True)
class LinearScores:
    """The module's formula: ``weights`` [m], ``operator`` B [m, n], ``biases`` [n]."""

    weights: Float64Array
    operator: LinearOperator
    biases: Float64Array

    def __call__(self, histories: sparse.csr_array) -> Float64Array:
        """Scores [U, n] of binary ``histories`` [U, m]."""
        features = unit_rows(histories, self.weights.astype(np.float32))
        return np.asarray(self.operator.rmatmat(features.toarray().T).T + self.biases)


def leading_directions(operator: LinearOperator, dim: int, *, seed: int) -> Float64Array:
    """The ``dim`` leading right singular vectors of ``operator`` [n, m], or as many as it has: [m, dim], orthonormal.

    By subspace iteration from random directions (Halko, Martinsson and Tropp 2011).
    """
    width = min(dim + OVERSAMPLING, *operator.shape)
    directions = np.random.default_rng(seed).standard_normal((operator.shape[1], width))
    for _ in range(POWER_ITERATIONS):
        directions = np.linalg.qr(operator.rmatmat(operator.matmat(directions)))[0]
    rotation = np.linalg.svd(operator.matmat(directions), full_matrices=False)[2]
    return np.asarray(directions @ rotation[:dim].T, dtype=np.float64)


class LinearModel(TabularModel, Generic[Choice]):
    """Settings chosen on the validation users by the exact scores; then the served form, once."""

    dim: int

    def __init__(self) -> None:
        super().__init__()
        self._choice: Choice | None = None
        self._history: HistoryMap | None = None

    @abstractmethod
    def choices(self) -> Sequence[Choice]:
        """What to choose from; of equals the first is taken."""

    @abstractmethod
    def scorer(self, histories: Histories, *, seed: int) -> Any:
        """A function from a choice to its :class:`LinearScores`, after the work that choices share."""

    def solve(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """Every choice judged on the validation users, and the best in its served form."""
        histories, seed = Histories.of(problem), draw_seed(generator)
        scorer, judge = self.scorer(histories, seed=seed), ScoreJudge(problem.validation)
        shown = histories.everyone[problem.validation.source_rows.numpy()]

        def quality(choice: Choice) -> float:
            scores: LinearScores = scorer(choice)
            return judge(lambda part: scores(sparse.csr_array(shown[part])))

        choices = self.choices()
        self._choice = choices[0] if len(choices) == 1 else max(choices, key=quality)
        return self._served(histories, scorer(self._choice), seed=seed)

    def solve_again(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """As chosen."""
        histories, seed = Histories.of(problem), draw_seed(generator)
        return self._served(histories, self.scorer(histories, seed=seed)(fitted(self._choice)), seed=seed)

    def rows(self, problem: TransferProblem) -> int:
        """The training overlap users."""
        return len(problem.overlap_source)

    def source_history(self) -> HistoryMap:
        """The map that makes source vectors of histories."""
        return fitted(self._history)

    def source_fold(self) -> SourceFold:
        """The history features, and one dimension that is always 0 where a bundle expects a base vector."""
        history = fitted(self._history)
        return history_fold(history)

    def feedback(self, problem: TransferProblem) -> ImplicitFeedback:
        """Scores are fitted to 0 and 1."""
        return FEEDBACK

    def _served(self, histories: Histories, scores: LinearScores, *, seed: int) -> Tables:
        weights = scores.weights.astype(np.float32)
        shown = unit_rows(histories.source, weights)
        directions = leading_directions(aslinearoperator(shown) @ scores.operator, self.dim, seed=seed)
        basis = scores.operator.matmat(directions)
        if not scores.biases.any():
            basis *= unit_scale(shown @ basis, histories.target @ directions)
        self._history = HistoryMap(weights, np.ascontiguousarray(basis, dtype=np.float32), 0.0)
        head = ranking_head(directions, scores.biases)
        return history_tables(self._history, histories.everyone, head)


def unit_scale(scores: Float64Array, wanted: Float64Array) -> float:
    """What ``scores`` [O, d] are multiplied by to be nearest to ``wanted`` [O, d]; 1 where nothing above 0 is.

    The order of a user's items hangs on no such number; what first target ratings add to scores does.
    """
    scale = float((scores * wanted).sum() / max(float(np.square(scores).sum()), SMALLEST))
    return scale if scale > 0 else 1.0


def ranking_head(vectors: npt.NDArray[np.floating], biases: npt.NDArray[np.floating]) -> ScoringHead:
    """``vectors`` [n, d] and ``biases`` [n] as a head whose scores order items."""
    return ScoringHead(
        torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32)),
        torch.from_numpy(np.ascontiguousarray(biases, dtype=np.float32)),
        0.0,
        "ranking",
    )


def history_tables(history: HistoryMap, everyone: sparse.csr_array, head: ScoringHead) -> Tables:
    """Source vectors are the features of ``history`` and a 0; the transfer takes the 0 off."""
    vectors = history.conditions(everyone, np.zeros((everyone.shape[0], 1)))
    return Tables(torch.from_numpy(vectors), torch.eye(history.dim + 1, history.dim), head)


def history_fold(history: HistoryMap) -> SourceFold:
    """The fold-in rule of :func:`history_tables`."""
    items = len(history.idf)
    return SourceFold(
        FoldInSpec(
            kind="ridge",
            regularisation=(1.0,),
            history=HistorySpec(dim=history.dim, vector_weight=history.vector_weight),
        ),
        item_vectors=torch.zeros(items, 1),
        item_biases=torch.zeros(items),
    )
