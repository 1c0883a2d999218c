"""What a report's tables come to, in a few sentences made from the figures."""

from __future__ import annotations

from collections.abc import Sequence

from training.experiment.plan import Grid, Scenario
from training.experiment.report.tables import SCENARIOS, SUBJECT, baselines_of
from training.experiment.results import CellResult
from training.experiment.statistics import METRICS, SIGNIFICANT, Metric, by_seed, compare, summarise

BY_FIELD = {metric.field: metric for metric in METRICS}
RMSE, NDCG = BY_FIELD["rmse_clipped"], BY_FIELD["ndcg"]


def reading(results: Sequence[CellResult], grid: Grid) -> tuple[str, ...]:
    """The best model of each cell, how often the subject wins for certain, and how it compares with the baselines."""
    sentences = []
    for scenario in grid.scenarios:
        mine = [result for result in results if result.scenario == scenario]
        sentences += [text for metric in (RMSE, NDCG) if (text := _best(mine, grid, metric, scenario))]
        sentences += _wins(mine, scenario)
        plain = [_ratio(mine, grid, NDCG, "popular"), _ratio(mine, grid, RMSE, "bias")]
        told = [text for text in plain if text]
        if told:
            sentences.append(f"{SCENARIOS[scenario].capitalize()}, against plain baselines: {'; '.join(told)}.")
    return tuple(sentences)


def _means(results: Sequence[CellResult], metric: Metric, fraction: float) -> dict[str, float]:
    figures = by_seed([result for result in results if result.test_fraction == fraction], metric)
    return {model: summarise(list(values.values())).mean for model, values in figures.items()}


def _best(results: Sequence[CellResult], grid: Grid, metric: Metric, scenario: Scenario) -> str | None:
    found: dict[str, list[str]] = {}
    for fraction in grid.test_fractions:
        means = _means(results, metric, fraction)
        if len(means) > 1:
            best = metric.best(means.values())
            winner = next(model for model, mean in means.items() if mean == best)
            found.setdefault(winner, []).append(f"{best:.4f} at β = {fraction:g}")
    if not found:
        return None
    told = "; ".join(f"{model} ({', '.join(cells)})" for model, cells in found.items())
    way = "lowest" if metric.lower_is_better else "highest"
    return f"{SCENARIOS[scenario].capitalize()}: {way} {metric.label}: {told}."


def _wins(results: Sequence[CellResult], scenario: Scenario) -> list[str]:
    rivals = set().union(*baselines_of(results).values())
    found = compare(results, SUBJECT, baselines=rivals, scenario=scenario)
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
    wins, holm, losses = (
        sum(each.improvement > 0 and each.p is not None and each.p < SIGNIFICANT for each in tested),
        sum(each.improvement > 0 and each.p_holm is not None and each.p_holm < SIGNIFICANT for each in tested),
        sum(each.improvement < 0 and each.p is not None and each.p < SIGNIFICANT for each in tested),
    )
    return [
        f"{start}: significantly in {wins} (p < {SIGNIFICANT:g}, paired t-test), in {holm} after Holm's correction; "
        f"significantly worse in {losses}."
    ]


def _ratio(results: Sequence[CellResult], grid: Grid, metric: Metric, baseline: str) -> str | None:
    parts = []
    for fraction in grid.test_fractions:
        means = _means(results, metric, fraction)
        if SUBJECT in means and means.get(baseline):
            parts.append(f"{means[SUBJECT] / means[baseline]:.2f}")
    return f"{SUBJECT}'s {metric.label} is {', '.join(parts)} × that of {baseline}, by β" if parts else None
