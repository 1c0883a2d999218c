"""The last step of a run: what a bundle holds of a fitted model besides the model, chosen and computed once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffcdr.arrays import Float32Array, Int64Array
from diffcdr.bundle.manifest import WarmSpec
from training.models.contract import SourceFold, TransferModel
from training.problem import TransferProblem
from training.run.fit import FittedModel
from training.run.prepare import Prepared
from training.run.source_fold import source_fold
from training.run.warm_start import choose_warm, stored_vectors


@dataclass(frozen=True)
class FinishedModel:
    """A fitted model with everything that its bundle holds; nothing is chosen afterwards.

    ``problem``: what it was fitted to in the end. ``fold``: how source vectors follow from ratings, or None.
    ``warm``: how target ratings move a vector, or None. ``warm_rows`` int64 [W], ascending: the target users with
    training ratings; ``warm_vectors`` float32 [W, target_dim]: theirs.
    """

    fitted: FittedModel
    prepared: Prepared
    problem: TransferProblem
    fold: SourceFold | None
    warm: WarmSpec | None
    warm_rows: Int64Array
    warm_vectors: Float32Array

    @property
    def model(self) -> TransferModel:
        """The model itself."""
        return self.fitted.model

    def vectors_of(self, rows: Int64Array) -> Float32Array:
        """Target vectors [len(rows), target_dim] of target users ``rows``, each one of ``warm_rows``."""
        return self.warm_vectors[np.searchsorted(self.warm_rows, rows)]


def finish(fitted: FittedModel, prepared: Prepared, *, seed: int) -> FinishedModel:
    """Choose on the validation users, with ``fitted.judged``, what ``fitted.model`` is served with."""
    problem = prepared.final(fitted.model)
    warm = choose_warm(fitted, prepared, seed=seed)
    rows = np.unique(problem.target.users)
    return FinishedModel(
        fitted=fitted,
        prepared=prepared,
        problem=problem,
        fold=source_fold(fitted.model, problem),
        warm=warm,
        warm_rows=rows,
        warm_vectors=stored_vectors(fitted.model, problem, rows, spec=warm),
    )
