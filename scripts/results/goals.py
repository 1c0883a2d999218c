"""Whether the presets that are meant to win do: each cell against the baselines, and against what was asked.

Goals are kept here as data, as they were set before the runs; nothing is chosen by whether they are met.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from training.experiment.plan import Scenario
from training.experiment.results import CellResult
from training.experiment.statistics import Metric, Summary, paired_p, summarise
from training.experiment.summaries import Summaries

RMSE_GAIN_ON_THE_MEAN = 0.003
"""Preset ``robust``: RMSE below the bias model's by this share, mean over cells."""

RATIOS_TO_POPULAR = {
    "movies-music": {0.2: 2.0},
    "books-movies": {0.2: 1.7},
    "douban": {0.2: 1.1, 0.5: 1.1, 0.8: 1.1},
    "epinions-ab": {0.2: 1.1, 0.5: 1.1, 0.8: 1.1},
    "epinions-ac": {0.2: 1.1, 0.5: 1.1, 0.8: 1.1},
}
"""Preset ``ranking``: [pair][test fraction], NDCG@20 at least this many times the popular list's."""


@dataclass(frozen=True)
class PairResults:
    """The results of one preset on one pair; ``name`` is short (``movies-music``), ``label`` for people."""

    name: str
    label: str
    results: Sequence[CellResult]

    def fractions(self) -> list[float]:
        """Test fractions there are results of, ascending."""
        return sorted({result.test_fraction for result in self.results})

    @cached_property
    def summaries(self) -> Summaries:
        """The results, summarised."""
        return Summaries(self.results)

    def of(self, metric: Metric, test_fraction: float, scenario: Scenario) -> Mapping[str, dict[int, float]]:
        """[model][seed] -> the figure, of one cell."""
        return self.summaries.by_seed(metric, test_fraction, scenario)


@dataclass(frozen=True)
class Standing:
    """One model against another in one cell, over the seeds that both have.

    ``change``: difference of the means as a share of the baseline's mean; ``error``: standard error of the paired
    differences over seeds, as the same share, None for a single seed. ``p``: two-sided, paired t-test. ``better``:
    seeds in which the model is better.
    """

    pair: str
    label: str
    test_fraction: float
    metric: Metric
    model: Summary
    baseline: Summary
    change: float
    error: float | None
    p: float | None
    better: int

    @property
    def ratio(self) -> float:
        """The model's mean over the baseline's."""
        return 1.0 + self.change

    @property
    def no_worse(self) -> bool:
        """As good as the baseline: better, or behind by at most one standard error."""
        behind = self.change if self.metric.lower_is_better else -self.change
        return behind <= (self.error or 0.0)


def standing(
    pair: PairResults, metric: Metric, *, test_fraction: float, model: str, baseline: str, scenario: Scenario = "cold"
) -> Standing | None:
    """How ``model`` stands against ``baseline``; None where either has no such figure on a common seed."""
    figures = pair.of(metric, test_fraction, scenario)
    mine, theirs = figures.get(model, {}), figures.get(baseline, {})
    seeds = sorted(mine.keys() & theirs.keys())
    if not seeds:
        return None
    first, second = (np.array([each[seed] for seed in seeds]) for each in (mine, theirs))
    differences, scale = first - second, float(second.mean())
    return Standing(
        pair=pair.name,
        label=pair.label,
        test_fraction=test_fraction,
        metric=metric,
        model=summarise(first.tolist()),
        baseline=summarise(second.tolist()),
        change=float(differences.mean()) / scale,
        error=float(differences.std(ddof=1)) / math.sqrt(len(seeds)) / scale if len(seeds) > 1 else None,
        p=paired_p(mine, theirs),
        better=int(np.count_nonzero(differences < 0 if metric.lower_is_better else differences > 0)),
    )


def standings(
    pairs: Iterable[PairResults], metric: Metric, *, model: str, baseline: str, scenario: Scenario = "cold"
) -> list[Standing]:
    """:func:`standing` in every cell that has one, pair by pair."""
    found = (
        standing(pair, metric, test_fraction=fraction, model=model, baseline=baseline, scenario=scenario)
        for pair in pairs
        for fraction in pair.fractions()
    )
    return [each for each in found if each is not None]


def mean_change(standings: Sequence[Standing]) -> float:
    """Mean over cells of the relative change, each cell alike; NaN where there are none."""
    return float(np.mean([each.change for each in standings])) if standings else math.nan


def wanted_ratio(standing: Standing) -> float | None:
    """The goal for the ratio to the popular list in this cell; None where none was set."""
    return RATIOS_TO_POPULAR.get(standing.pair, {}).get(standing.test_fraction)
