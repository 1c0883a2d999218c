"""The last step of a run: what a bundle holds of a fitted model besides the model, chosen and computed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from diffcdr.arrays import Float32Array, Int64Array
from diffcdr.bundle.manifest import WarmSpec
from training.data.splits import all_ratings
from training.models.contract import SourceFold, TransferModel
from training.problem import TransferProblem
from training.rating_table import RatingTable
from training.run.fit import FittedModel
from training.run.prepare import Prepared
from training.run.source_fold import source_fold
from training.run.warm_start import choose_warm, late_vectors, stored_vectors

HeldOutUsers = Literal["known", "cold"]
"""How a bundle serves the users whose target ratings were held out: with these ratings, or as they were measured."""


@dataclass(frozen=True)
class FinishedModel:
    """A fitted model with everything that its bundle holds; nothing is chosen afterwards.

    ``problem``: what it was fitted to in the end. ``fold``: how source vectors follow from ratings, or None.
    ``warm``: how target ratings move a vector, or None. ``rated``: the target ratings that the bundle knows.
    ``warm_rows`` int64 [W], ascending: the target users who made them; ``warm_vectors`` float32 [W, target_dim]:
    theirs. ``held_out``: whether those whose ratings were held out are among them.
    """

    fitted: FittedModel
    prepared: Prepared
    problem: TransferProblem
    fold: SourceFold | None
    warm: WarmSpec | None
    rated: RatingTable
    held_out: HeldOutUsers
    warm_rows: Int64Array
    warm_vectors: Float32Array

    @property
    def model(self) -> TransferModel:
        """The model itself."""
        return self.fitted.model

    def vectors_of(self, rows: Int64Array) -> Float32Array:
        """Target vectors [len(rows), target_dim] of target users ``rows``, each one of ``warm_rows``."""
        return self.warm_vectors[np.searchsorted(self.warm_rows, rows)]


def finish(fitted: FittedModel, prepared: Prepared, *, seed: int, held_out: HeldOutUsers = "known") -> FinishedModel:
    """Choose on the validation users, with ``fitted.judged``, what ``fitted.model`` is served with.

    With ``held_out`` ``known``, everything is fitted and measured without the held-out target ratings, and then their
    users get vectors by them as other users do, so that nobody is served as if they had rated nothing. What came after
    the cut of a split by time stays unknown: then it is ``cold``.
    """
    if prepared.cut is not None:
        held_out = "cold"
    problem = prepared.final(fitted.model)
    warm = choose_warm(fitted, prepared, seed=seed)
    rated, rows = problem.target, np.unique(problem.target.users)
    vectors = stored_vectors(fitted.model, problem, rows, spec=warm)
    if held_out == "known":
        rated = all_ratings(prepared.pair.target)
        late = np.setdiff1d(rated.users, rows)
        moved = late_vectors(fitted.model, problem, prepared.pair, late, spec=warm)
        order = np.argsort(np.concatenate([rows, late]))
        rows, vectors = np.concatenate([rows, late])[order], np.concatenate([vectors, moved])[order]
    return FinishedModel(
        fitted=fitted,
        prepared=prepared,
        problem=problem,
        fold=source_fold(fitted.model, problem),
        warm=warm,
        rated=rated,
        held_out=held_out,
        warm_rows=rows,
        warm_vectors=vectors,
    )
