"""A model against the best baseline, with a test over seeds.

One table holds many tests, so p-values corrected by Holm's method for all tests of the table are given too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from training.experiment.plan import Scenario
from training.experiment.statistics import METRICS, Metric, holm, paired_p
from training.experiment.summaries import Summaries


@dataclass(frozen=True)
class Comparison:
    """A model against the baseline with the best mean.

    ``improvement``: share of the baseline's figure, positive where the model is better. ``p``: two-sided, of the paired
    t-test over the seeds both have; None with fewer than two. ``p_holm``: corrected for the tests of the same family.
    """

    model: str
    baseline: str
    metric: Metric
    test_fraction: float
    scenario: Scenario
    improvement: float
    p: float | None
    p_holm: float | None = None


def compare(summaries: Summaries, model: str, *, baselines: Iterable[str], scenario: Scenario) -> list[Comparison]:
    """``model`` against the best of ``baselines``, for every test fraction and metric; one Holm family.

    Metrics that the model or every baseline lacks are left out.
    """
    rivals, comparisons = set(baselines) - {model}, []
    for fraction in summaries.fractions(scenario):
        for metric in METRICS:
            means = {name: each.mean for name, each in summaries.figures(metric, fraction, scenario).items()}
            rival_means = {name: means[name] for name in means.keys() & rivals}
            if model not in means or not rival_means:
                continue
            best = metric.best(rival_means.values())
            baseline = min(name for name, mean in rival_means.items() if mean == best)
            gain = means[model] - best
            seeds = summaries.by_seed(metric, fraction, scenario)
            comparisons.append(
                Comparison(
                    model=model,
                    baseline=baseline,
                    metric=metric,
                    test_fraction=fraction,
                    scenario=scenario,
                    improvement=(-gain if metric.lower_is_better else gain) / best if best else math.nan,
                    p=paired_p(seeds[model], seeds[baseline]),
                )
            )
    corrected = holm([comparison.p for comparison in comparisons])
    return [replace(each, p_holm=p) for each, p in zip(comparisons, corrected, strict=True)]
