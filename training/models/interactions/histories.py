"""The training data of the interaction models: histories of the training overlap users in both domains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse

from diffcdr.arrays import Float64Array
from diffcdr.errors import InputError
from training.base_models.als import interactions
from training.models.history import inverse_frequencies
from training.problem import TransferProblem


@dataclass(frozen=True)
class Histories:
    """Binary matrices in float64: ``everyone`` [n_source_users, m], all source users' source items.

    ``source`` [O, m] and ``target`` [O, n]: both sides of the training overlap users, in the problem's order.
    ``counts`` float64 [n]: ratings of each target item by all users that may be learnt from.
    """

    everyone: sparse.csr_array
    source: sparse.csr_array
    target: sparse.csr_array
    counts: Float64Array

    @classmethod
    def of(cls, problem: TransferProblem) -> Self:
        """From the ratings of ``problem``, whatever their values."""
        everyone = interactions(problem.source).astype(np.float64)
        target = interactions(problem.target).astype(np.float64)
        return cls(
            everyone,
            sparse.csr_array(everyone[problem.overlap_source.numpy()]),
            sparse.csr_array(target[problem.overlap_target.numpy()]),
            np.asarray(target.sum(axis=0), dtype=np.float64).ravel(),
        )

    def idf(self, exponent: float) -> Float64Array:
        """:func:`~training.models.history.inverse_frequencies` of the source items, [m]."""
        return inverse_frequencies(self.everyone, power=exponent).astype(np.float64)


def check_square(size: int, *, limit: int, model: str, what: str, instead: str) -> None:
    """Refuse a square matrix of ``size`` rows over ``limit``, before it is made.

    Raises:
        InputError: it is too large; the message has its size in memory.
    """
    if size > limit:
        raise InputError(
            f"{model} solves a square matrix with a row for each of {size:,} {what}: {size**2 * 8 / 1e9:,.1f} GB, and "
            f"{model}.max_square={limit:,} allows {limit**2 * 8 / 1e9:,.1f} GB; {instead}, or raise that setting"
        )
