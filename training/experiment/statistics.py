"""Over the seeds of a cell: mean and standard error, and whether a model beats the best baseline.

The test is the paper's, a paired t-test at 0.05 over the seeds (each seed is one split, the same for all models). As
one table holds many tests, p-values corrected by Holm's method for all tests of the table are given beside them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from training.experiment.plan import Scenario
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


@dataclass(frozen=True)
class Comparison:
    """A model against the baseline with the best mean.

    ``improvement``: share of the baseline's figure, positive where the model is better. ``p``: two-sided, of the paired
    t-test over the seeds both have; None with fewer than two. ``p_holm``: corrected for the tests made beside it.
    """

    model: str
    baseline: str
    metric: Metric
    test_fraction: float
    scenario: Scenario
    improvement: float
    p: float | None
    p_holm: float | None = None


def summarise(values: Sequence[float]) -> Summary:
    """Of one figure per seed; there is at least one."""
    n = len(values)
    error = float(np.std(values, ddof=1) / math.sqrt(n)) if n > 1 else None
    return Summary(float(np.mean(values)), error, n)


def by_seed(results: Iterable[CellResult], metric: Metric) -> dict[str, dict[int, float]]:
    """[model][seed] -> the figure, where there is one."""
    figures: dict[str, dict[int, float]] = {}
    for result in results:
        value = metric.of(result)
        if value is not None:
            figures.setdefault(result.model, {})[result.seed] = value
    return figures


def compare(
    results: Iterable[CellResult], model: str, *, baselines: Iterable[str], scenario: Scenario
) -> list[Comparison]:
    """``model`` against the best of ``baselines``, for every test fraction and metric; one Holm family.

    Metrics that the model or every baseline lacks are left out.
    """
    mine = [result for result in results if result.scenario == scenario]
    rivals, comparisons = set(baselines) - {model}, []
    for fraction in sorted({result.test_fraction for result in mine}):
        here = [result for result in mine if result.test_fraction == fraction]
        for metric in METRICS:
            figures = by_seed(here, metric)
            means = {name: summarise(list(figures[name].values())).mean for name in figures.keys() & rivals}
            if model not in figures or not means:
                continue
            best = metric.best(means.values())
            baseline = min(name for name, mean in means.items() if mean == best)
            gain = summarise(list(figures[model].values())).mean - best
            comparisons.append(
                Comparison(
                    model=model,
                    baseline=baseline,
                    metric=metric,
                    test_fraction=fraction,
                    scenario=scenario,
                    improvement=(-gain if metric.lower_is_better else gain) / best if best else math.nan,
                    p=paired_p(figures[model], figures[baseline]),
                )
            )
    corrected = holm([comparison.p for comparison in comparisons])
    return [replace(each, p_holm=p) for each, p in zip(comparisons, corrected, strict=True)]


def paired_p(first: dict[int, float], second: dict[int, float]) -> float | None:
    """Two-sided p of the paired t-test over the seeds of both; None with fewer than two.

    Differences that are all the same have no spread to test against: p is 1 where they are zero, else 0.
    """
    seeds = sorted(first.keys() & second.keys())
    if len(seeds) < 2:
        return None
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
