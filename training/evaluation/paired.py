"""Paired differences of two models on the same users, which are less noisy than either figure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.evaluation.evaluate import Metrics


@dataclass(frozen=True)
class PairedDifference:
    """Mean over users of one model's NDCG less another's, and its standard error; None of a single user."""

    ndcg: float
    standard_error: float | None


def paired_difference(mine: Metrics, theirs: Metrics) -> PairedDifference | None:
    """``mine`` less ``theirs``, measured on the same users at the same k; None where users were not kept apart."""
    if mine.ndcg_by_user is None or theirs.ndcg_by_user is None:
        return None
    return difference_by_user(mine.ndcg_by_user, theirs.ndcg_by_user)


def difference_by_user(mine: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64]) -> PairedDifference:
    """``mine`` less ``theirs``, NDCG of the same users in the same order, both [U]."""
    differences = mine - theirs
    users = len(differences)
    error = float(differences.std(ddof=1)) / math.sqrt(users) if users > 1 else None
    return PairedDifference(float(differences.mean()), error)
