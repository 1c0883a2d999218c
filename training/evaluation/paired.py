"""Paired differences of two models on the same users, which are less noisy than either figure."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
    differences = mine.ndcg_by_user - theirs.ndcg_by_user
    users = len(differences)
    error = float(differences.std(ddof=1)) / math.sqrt(users) if users > 1 else None
    return PairedDifference(float(differences.mean()), error)
