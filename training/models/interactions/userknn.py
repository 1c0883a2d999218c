"""User-kNN: target items of the shared users with the most similar source histories.

With the cosines of tf-idf histories, s(x, u) >= 0, and N(x) the nearest training overlap users of x:

    scores(x) = sum_{u in N(x)} s(x, u)^q y_u / |y_u|^p  over  sum_{u in N(x)} s(x, u)^q

A user is never a neighbour of their own. Which users are near is no linear function of a history, so nothing that a
bundle holds computes it for a history brought by a request. Users known at training are served as the formula has it:
their scores lie in the span of the leading directions V of all training users' scores, and their coordinates there are
stored. A new history is served by the linear form, in which every training user is a neighbour and q is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator

from diffcdr.arrays import Float64Array
from training.base_models.als import draw_seed
from training.evaluation.judging import ScoreJudge
from training.models.co_occurrence import keep_largest
from training.models.contract import SourceFold, fitted
from training.models.history import HistoryMap, unit_rows
from training.models.interactions.histories import Histories
from training.models.interactions.linear import (
    FEEDBACK,
    SMALLEST,
    history_fold,
    leading_directions,
    ranking_head,
    unit_scale,
)
from training.models.table_model import Tables, TabularModel
from training.problem import ImplicitFeedback, TransferProblem
from training.setting_types import Settings

USERS_AT_ONCE = 1024


class UserKNNConfig(Settings):
    """User-kNN, section ``[userknn]``. Lists are grids, chosen from on the validation users."""

    neighbours: tuple[int, ...] = Field(default=(100, 50, 200, 1000), min_length=1)
    """Nearest users that count."""
    similarity_exponents: tuple[float, ...] = Field(default=(1.0, 2.0), min_length=1)
    """q of the formula."""
    row_exponents: tuple[float, ...] = Field(default=(0.0, 0.5), min_length=1)
    """Power of a neighbour's number of target items that their row is divided by."""
    dim: int = Field(default=1024, ge=1, le=4096)
    """Dimensions of what is served: the best approximation of so many."""


@dataclass(frozen=True)
class UserKNNChoice:
    """What was chosen on the validation users."""

    neighbours: int
    similarity_exponent: float
    row_exponent: float


class UserKNN(TabularModel):
    """See the module."""

    name = "userknn"

    def __init__(self, config: UserKNNConfig) -> None:
        super().__init__()
        self.config = config
        self._choice: UserKNNChoice | None = None
        self._history: HistoryMap | None = None

    def choices(self) -> Sequence[UserKNNChoice]:
        """Every combination."""
        config = self.config
        return [
            UserKNNChoice(*values)
            for values in product(config.neighbours, config.similarity_exponents, config.row_exponents)
        ]

    def solve(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """Every choice judged on the validation users."""
        histories, seed = Histories.of(problem), draw_seed(generator)
        judge = ScoreJudge(problem.validation)
        shown = problem.validation.source_rows.numpy()
        cosines = cache(lambda start, stop: _cosines(histories, histories.everyone[shown[start:stop]]))

        def quality(choice: UserKNNChoice) -> float:
            rows = _target_rows(histories, choice)

            def scores(part: slice) -> Float64Array:
                return np.asarray((_near(cosines(part.start, part.stop), choice) @ rows).toarray())

            return judge(scores)

        self._choice = max(self.choices(), key=quality)
        return self._served(problem, histories, seed=seed)

    def solve_again(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """As chosen."""
        return self._served(problem, Histories.of(problem), seed=draw_seed(generator))

    def rows(self, problem: TransferProblem) -> int:
        """The training overlap users."""
        return len(problem.overlap_source)

    def feedback(self, problem: TransferProblem) -> ImplicitFeedback:
        """Scores are shares of neighbours, between 0 and 1."""
        return FEEDBACK

    def source_history(self) -> HistoryMap:
        """The linear form, for new histories."""
        return fitted(self._history)

    def source_fold(self) -> SourceFold:
        """The linear form, for new histories."""
        return history_fold(fitted(self._history))

    def details(self) -> dict[str, Any]:
        """The settings, and what was chosen."""
        return {**self.config.model_dump(mode="json"), **asdict(fitted(self._choice))}

    def _served(self, problem: TransferProblem, histories: Histories, *, seed: int) -> Tables:
        choice = fitted(self._choice)
        rows, weights = _target_rows(histories, choice), histories.idf(1.0).astype(np.float32)
        own = np.full(histories.everyone.shape[0], -1)
        own[problem.overlap_source.numpy()] = np.arange(len(problem.overlap_source))

        def near(users: slice) -> sparse.csr_array:
            cosines = _cosines(histories, sparse.csr_array(histories.everyone[users]), own=own[users])
            return _near(cosines, choice)

        parts = [slice(start, start + USERS_AT_ONCE) for start in range(0, len(own), USERS_AT_ONCE)]
        everyone = sparse.vstack([near(part) for part in parts], format="csr")
        taught = sparse.csr_array(everyone[problem.overlap_source.numpy()])
        directions = leading_directions(aslinearoperator(taught) @ aslinearoperator(rows), self.config.dim, seed=seed)
        places = rows @ directions
        known = unit_rows(histories.source, weights)
        basis = known.T @ places
        basis *= unit_scale(known @ basis, taught @ places)
        self._history = HistoryMap(weights, np.ascontiguousarray(basis, dtype=np.float32), 0.0)
        vectors = np.hstack([everyone @ places, np.zeros((len(own), 1))]).astype(np.float32)
        dim = directions.shape[1]
        head = ranking_head(directions, np.zeros(rows.shape[1]))
        return Tables(torch.from_numpy(vectors), torch.eye(dim + 1, dim), head)


def _target_rows(histories: Histories, choice: UserKNNChoice) -> sparse.csr_array:
    lengths = np.maximum(np.asarray(histories.target.sum(axis=1)).ravel(), 1.0)
    return sparse.csr_array(sparse.diags_array(lengths**-choice.row_exponent) @ histories.target)


def _cosines(
    histories: Histories, shown: sparse.csr_array, *, own: np.ndarray[Any, np.dtype[np.int64]] | None = None
) -> sparse.csr_array:
    """[U, O] of users with histories ``shown`` to the training users; 0 to the one of number ``own`` (-1: none)."""
    weights = histories.idf(1.0).astype(np.float32)
    found = sparse.csr_array(unit_rows(shown, weights) @ unit_rows(histories.source, weights).T)
    if own is not None:
        owners = np.repeat(np.arange(found.shape[0]), np.diff(found.indptr))
        found.data[found.indices == own[owners]] = 0.0
        found.eliminate_zeros()
    return found


def _near(cosines: sparse.csr_array, choice: UserKNNChoice) -> sparse.csr_array:
    """Weights [U, O] of the nearest users, adding up to 1 in each row with any."""
    near = keep_largest(cosines, choice.neighbours)
    near.data = near.data**choice.similarity_exponent
    totals = np.maximum(np.asarray(near.sum(axis=1)).ravel(), SMALLEST)
    return sparse.csr_array(sparse.diags_array(1.0 / totals) @ near)
