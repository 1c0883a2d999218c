"""Dual (kernel) ridge regression: from a tf-idf history to who has which target items, over shared users.

With unit tf-idf histories A [O, m] of the training overlap users and their target rows Y [O, n], K = A A', all centred:

    scores(x) = mean(Y) + k(x) (K + strength g)^-1 (Y - mean(Y))        g: the mean of K's diagonal

The dual form (Saunders, Gammerman and Vovk 1998) solves a square matrix of users, not of items. Target rows may be
divided by a power of their length, and scores by a power of the item's popularity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from pydantic import Field
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from training.models.contract import fitted
from training.models.history import unit_rows
from training.models.interactions.histories import Histories, check_square
from training.models.interactions.linear import LinearModel, LinearScores
from training.setting_types import Settings

SMALLEST = 1e-12


class DualRidgeConfig(Settings):
    """Dual ridge from tf-idf histories to target rows, section ``[dual_ridge]``.

    Lists are grids, chosen from on the validation users.
    """

    strengths: tuple[float, ...] = Field(default=(10.0, 1.0, 3.0, 30.0, 100.0), min_length=1)
    """Regularisation, in means of the centred Gram matrix's diagonal."""
    idf_exponents: tuple[float, ...] = Field(default=(1.0,), min_length=1)
    """Power of the idf in the weights of source items."""
    row_exponents: tuple[float, ...] = Field(default=(0.0, 0.5), min_length=1)
    """Power of a training user's number of target items that their target row is divided by."""
    column_exponents: tuple[float, ...] = Field(default=(0.0, 0.25), min_length=1)
    """Power of a target item's number of ratings that its score is divided by."""
    dim: int = Field(default=1024, ge=1, le=4096)
    """Dimensions of what is served: the best approximation of so many."""
    max_square: int = Field(default=16_000, ge=1)
    """Most training users whose square matrix is solved."""


@dataclass(frozen=True)
class DualRidgeChoice:
    """What was chosen on the validation users."""

    strength: float
    idf_exponent: float
    row_exponent: float
    column_exponent: float


class DualRidge(LinearModel[DualRidgeChoice]):
    """See the module."""

    name = "dual_ridge"

    def __init__(self, config: DualRidgeConfig) -> None:
        super().__init__()
        self.config, self.dim = config, config.dim

    def choices(self) -> Sequence[DualRidgeChoice]:
        """Every combination."""
        config = self.config
        grids = product(config.strengths, config.idf_exponents, config.row_exponents, config.column_exponents)
        return [DualRidgeChoice(*values) for values in grids]

    def scorer(self, histories: Histories, *, seed: int) -> Callable[[DualRidgeChoice], LinearScores]:
        """One factorisation for each strength and idf exponent."""
        users = histories.source.shape[0]
        check_square(
            users, limit=self.config.max_square, model=self.name, what="shared users", instead="use ridge or diffcdr"
        )
        lengths = np.maximum(np.asarray(histories.target.sum(axis=1)).ravel(), 1.0)

        @cache
        def gram(exponent: float) -> tuple[sparse.csr_array, np.ndarray[Any, np.dtype[np.float64]]]:
            rows = unit_rows(histories.source, histories.idf(exponent).astype(np.float32))
            return rows, _centred((rows @ rows.T).toarray())

        @cache
        def factor(strength: float, exponent: float) -> LinearOperator:
            kernel = gram(exponent)[1]
            return _inverse(kernel, strength * max(float(np.trace(kernel)) / users, SMALLEST))

        def scores(choice: DualRidgeChoice) -> LinearScores:
            rows, _ = gram(choice.idf_exponent)
            target = sparse.csr_array(sparse.diags_array(lengths**-choice.row_exponent) @ histories.target)
            scale = np.maximum(histories.counts, 1.0) ** -choice.column_exponent
            mean = np.asarray(target.mean(axis=0)).ravel()
            solved = factor(choice.strength, choice.idf_exponent)
            operator = (
                aslinearoperator(sparse.csr_array(rows.T))
                @ solved
                @ aslinearoperator(sparse.csr_array(target @ sparse.diags_array(scale)))
            )
            # k(x) is centred over the training users: what that takes off does not depend on x.
            centre = operator.rmatvec(np.asarray(rows.mean(axis=0)).ravel())
            return LinearScores(histories.idf(choice.idf_exponent), operator, mean * scale - centre)

        return scores

    def details(self) -> dict[str, Any]:
        """The settings, and what was chosen."""
        return {**self.config.model_dump(mode="json"), **asdict(fitted(self._choice))}


def _centred(kernel: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    means = kernel.mean(axis=0)
    return np.asarray(kernel - means[None, :] - means[:, None] + means.mean())


def _inverse(kernel: np.ndarray[Any, np.dtype[np.float64]], ridge: float) -> LinearOperator:
    """J (kernel + ridge)^-1 J of a centred ``kernel``, J the centring."""
    held = kernel.copy()
    held[np.diag_indices(len(held))] += ridge
    factors = cho_factor(held, lower=True, overwrite_a=True)

    def apply(rows: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
        # On what is centred, the inverse stays centred: one centring on each side is enough.
        solved = cho_solve(factors, rows - rows.mean(axis=0))
        return np.asarray(solved - solved.mean(axis=0))

    return LinearOperator(kernel.shape, matvec=apply, rmatvec=apply, matmat=apply, rmatmat=apply, dtype=np.float64)
