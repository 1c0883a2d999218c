"""Statistics over the seeds of a cell: mean and standard error, the paired test, and Holm's correction.

The test is the paper's: a paired t-test at 0.05 over the seeds. Each seed is one split, the same for all models.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from training.experiment.results import CellResult

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Metric:
    """A column: ``field`` of :class:`CellResult`, and which way is better."""

    field: str
    label: str
    lower_is_better: bool

    def of(self, result: CellResult) -> float | None:
        """The figure of one cell."""
        value: float | None = getattr(result, self.field)
        return value

    def best(self, values: Iterable[float]) -> float:
        """The best of ``values``, of which there is one at least."""
        return min(values) if self.lower_is_better else max(values)


METRICS = (
    Metric("mae", "MAE", True),
    Metric("rmse", "RMSE", True),
    Metric("mae_clipped", "MAE clipped", True),
    Metric("rmse_clipped", "RMSE clipped", True),
    Metric("ndcg", "NDCG@20", False),
    Metric("hr", "HR@20", False),
    Metric("recall", "Recall@20", False),
)


@dataclass(frozen=True)
class Summary:
    """Mean over ``n`` seeds and its standard error; the latter is None for a single seed."""

    mean: float
    error: float | None
    n: int


def summarise(values: Sequence[float]) -> Summary:
    """Of one figure per seed; there is at least one."""
    n = len(values)
    error = float(np.std(values, ddof=1) / math.sqrt(n)) if n > 1 else None
    return Summary(float(np.mean(values)), error, n)


def paired_p(first: dict[int, float], second: dict[int, float]) -> float | None:
    """Two-sided p of the paired t-test over the seeds of both; None with fewer than two.

    Differences that are all the same have no spread to test against: p is 1 where they are zero, else 0.
    """
    seeds = sorted(first.keys() & second.keys())
    if len(seeds) < 2:
        return None
    from scipy import stats  # noqa: PLC0415 - takes most of a second to load

    differences = np.array([first[seed] - second[seed] for seed in seeds])
    if np.ptp(differences) <= 1e-12 * np.abs(differences).max():
        return 1.0 if differences[0] == 0.0 else 0.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction of the values that are there, in their places.

    The i-th smallest of m (from 0) is multiplied by m - i, then made no less than the ones before, and at most 1.
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, (p, place) in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * p))
        corrected[place] = least
    return corrected
