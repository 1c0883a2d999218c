"""The summary of a report: a few sentences made from its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from training.experiment.comparison import Comparison
from training.experiment.plan import Grid, Scenario
from training.experiment.report.tables import SCENARIOS, SUBJECT
from training.experiment.statistics import METRICS, SIGNIFICANT, Metric
from training.experiment.summaries import Summaries

BY_FIELD = {metric.field: metric for metric in METRICS}
ENOUGH_SEEDS = 5
"""The paper's; with fewer, a test over seeds finds very large differences only."""
RMSE, NDCG = BY_FIELD["rmse_clipped"], BY_FIELD["ndcg"]


def reading(summaries: Summaries, grid: Grid, comparisons: Mapping[Scenario, Sequence[Comparison]]) -> tuple[str, ...]:
    """The best model of each cell, how often the subject wins for certain, and how it compares with the baselines.

    ``comparisons``: of the subject with the best of all baselines, by scenario.
    """
    sentences = []
    for scenario in grid.scenarios:
        sentences += [text for metric in (RMSE, NDCG) if (text := _best(summaries, grid, metric, scenario))]
        sentences += _wins(grid, comparisons[scenario], scenario)
        plain = [
            _ratio(summaries, grid, metric, baseline, scenario)
            for metric, baseline in ((NDCG, "popular"), (RMSE, "bias"))
        ]
        told = [text for text in plain if text]
        if told:
            sentences.append(f"{SCENARIOS[scenario].capitalize()}, against plain baselines: {'; '.join(told)}.")
    return tuple(sentences)


def _best(summaries: Summaries, grid: Grid, metric: Metric, scenario: Scenario) -> str | None:
    found: dict[str, list[str]] = {}
    for fraction in grid.test_fractions:
        figures = summaries.figures(metric, fraction, scenario)
        if len(figures) > 1:
            best = metric.best(each.mean for each in figures.values())
            winner = next(model for model, each in figures.items() if each.mean == best)
            found.setdefault(winner, []).append(f"{best:.4f} at β = {fraction:g}")
    if not found:
        return None
    told = "; ".join(f"{model} ({', '.join(cells)})" for model, cells in found.items())
    way = "lowest" if metric.lower_is_better else "highest"
    return f"{SCENARIOS[scenario].capitalize()}: {way} {metric.label}: {told}."


def _wins(grid: Grid, found: Sequence[Comparison], scenario: Scenario) -> list[str]:
    tested = [each for each in found if each.p is not None]
    if not found:
        return []
    better = sum(each.improvement > 0 for each in found)
    start = (
        f"{SCENARIOS[scenario].capitalize()}: {SUBJECT} has a better mean than the best other model in {better} of "
        f"{len(found)} figures (metrics × β)"
    )
    if not tested:
        return [f"{start}; one seed allows no test."]
    few = f" ({grid.seeds} seeds: only very large differences are)" if grid.seeds < ENOUGH_SEEDS else ""
    wins, holm, losses = (
        sum(each.improvement > 0 and each.p is not None and each.p < SIGNIFICANT for each in tested),
        sum(each.improvement > 0 and each.p_holm is not None and each.p_holm < SIGNIFICANT for each in tested),
        sum(each.improvement < 0 and each.p is not None and each.p < SIGNIFICANT for each in tested),
    )
    return [
        f"{start}: significantly in {wins} (p < {SIGNIFICANT:g}, paired t-test), in {holm} after Holm's correction; "
        f"significantly worse in {losses}{few}."
    ]


def _ratio(summaries: Summaries, grid: Grid, metric: Metric, baseline: str, scenario: Scenario) -> str | None:
    parts: list[str] = []
    for fraction in grid.test_fractions:
        figures = summaries.figures(metric, fraction, scenario)
        if SUBJECT in figures and baseline in figures and figures[baseline].mean:
            parts.append(f"{figures[SUBJECT].mean / figures[baseline].mean:.2f}")
    by = ", by β" if len(parts) > 1 else ""
    return f"{SUBJECT}'s {metric.label} is {', '.join(parts)} × that of {baseline}{by}" if parts else None
