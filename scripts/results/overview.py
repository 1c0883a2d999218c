"""The page ``README.md`` of ``docs/results/``: every pair and split of the paper's systems in a few tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from scripts.results.goals import PairResults
from training.experiment.comparison import Comparison, compare
from training.experiment.paper import paper_numbers
from training.experiment.plan import Scenario
from training.experiment.report.render import Report
from training.experiment.report.tables import SCENARIOS, SUBJECT, ReportTable, TableCell, is_ablation, shown
from training.experiment.statistics import METRICS, SIGNIFICANT, Metric

BY_FIELD = {metric.field: metric for metric in METRICS}
SHOWN = (BY_FIELD["rmse_clipped"], BY_FIELD["ndcg"])
PLAIN = ("bias", "popular")

HOW_TO_READ = (
    "Made by `make results`: means over seeds ± one standard error; each seed is a split of its own with base models "
    "of its own, the same for all models. Every choice was made on validation users; test users were measured once. β "
    "is the share of overlap users held out; metrics and the warm scenario are defined in "
    "[metrics](../reference/metrics.md). `reference` follows the released code, `paper` the paper's text."
)


def overview_page(presets: Mapping[str, Sequence[PairResults]], *, links: Sequence[str]) -> Report:
    """Tables over ``presets`` [preset] -> its pairs; ``links``: lines of Markdown that lead to the other pages."""
    tables = [claims_table(presets)]
    for preset, pairs in presets.items():
        for scenario in SCENARIOS:
            tables += [overview_table(pairs, metric, preset=preset, scenario=scenario) for metric in SHOWN]
    return Report("Results", (HOW_TO_READ, "\n".join(links)), tuple(table for table in tables if table.rows), ())


def overview_table(pairs: Sequence[PairResults], metric: Metric, *, preset: str, scenario: Scenario) -> ReportTable:
    """One row a pair and test fraction: the best model, the subject and its place, and the baselines."""
    rows = []
    for pair in pairs:
        for fraction in pair.fractions():
            means = pair.summaries.figures(metric, fraction, scenario)
            if not means:
                continue
            order = sorted(means, key=lambda name: means[name].mean, reverse=not metric.lower_is_better)
            best = order[0]
            place = f"{order.index(SUBJECT) + 1} of {len(order)}" if SUBJECT in order else "–"
            texts = [pair.label, f"{fraction:g}", best, shown(means[best])]
            texts += [shown(means[SUBJECT]) if SUBJECT in means else "–", place]
            texts += [shown(means[name]) if name in means else "–" for name in PLAIN]
            texts.append(f"{means[best].n}")
            rows.append(tuple(map(TableCell, texts)))
    columns = ("pair", "β", "best model", metric.label, SUBJECT, "its place", *PLAIN, "seeds")
    return ReportTable(f"{metric.label}, {SCENARIOS[scenario]}, preset {preset}", columns, tuple(rows))


def claims_table(presets: Mapping[str, Sequence[PairResults]]) -> ReportTable:
    """What the paper claims of its systems, counted over pairs, test fractions and, where it says so, models."""
    claims: tuple[tuple[str, Callable[[Sequence[PairResults]], str]], ...] = (
        *(
            (
                f"DiffCDR has the best {metric.label} of the paper's seven systems, {SCENARIOS[scenario]}",
                partial(_best_of, metric=metric, scenario=scenario),
            )
            for scenario in SCENARIOS
            for metric in (BY_FIELD["mae"], BY_FIELD["rmse"], BY_FIELD["ndcg"])
        ),
        ("DiffCDR has a better clipped RMSE than the bias model, cold start", _over("bias", BY_FIELD["rmse_clipped"])),
        ("DiffCDR has a better NDCG@20 than the popular list, cold start", _over("popular", BY_FIELD["ndcg"])),
        ("The whole has a better MAE than without its task (DA)", _over("diffcdr-da", BY_FIELD["mae"])),
        ("The whole has a better MAE than without its diffusion (AT)", _over("diffcdr-at", BY_FIELD["mae"])),
        ("The whole has a better MAE than AT by its task loss alone", _over("diffcdr-at-task", BY_FIELD["mae"])),
        ("A system of the paper has a better RMSE warm than cold", _warmer),
    )
    rows = [
        (TableCell(text), *(TableCell(count(pairs)) for pairs in presets.values()))
        for text, count in claims
        if any(pairs for pairs in presets.values())
    ]
    note = (
        f"Cells in which it holds on the mean, of all there are; in brackets, those in which p < {SIGNIFICANT:g} by a "
        "paired t-test over seeds, without correction. In the paper each of the first holds in nearly all of its nine "
        "cells. Warm figures are on half of the ratings that cold ones are on."
    )
    return ReportTable("What the paper claims", ("claim", *presets), tuple(rows), (note,) if rows else ())


def _comparisons(
    pairs: Sequence[PairResults], rivals: Sequence[str], metric: Metric, scenario: Scenario
) -> list[Comparison]:
    return [
        found
        for pair in pairs
        for found in compare(pair.summaries, SUBJECT, baselines=rivals, scenario=scenario)
        if found.metric == metric
    ]


def _best_of(pairs: Sequence[PairResults], metric: Metric, scenario: Scenario) -> str:
    rivals = [model for model in paper_numbers().models if model != SUBJECT]
    return _count(_comparisons(pairs, rivals, metric, scenario))


def _over(rival: str, metric: Metric) -> Callable[[Sequence[PairResults]], str]:
    return lambda pairs: _count(_comparisons(pairs, [rival], metric, "cold"))


def _count(found: Sequence[Comparison]) -> str:
    better = [each for each in found if each.improvement > 0]
    sure = [each for each in better if each.p is not None and each.p < SIGNIFICANT]
    return f"{len(better)} ({len(sure)}) of {len(found)}" if found else "–"


def _warmer(pairs: Sequence[PairResults]) -> str:
    """Over models, too: in the paper's Figure 3 all are better warm."""

    def mean(pair: PairResults, model: str, scenario: Scenario, fraction: float) -> float | None:
        figures = pair.summaries.figures(BY_FIELD["rmse"], fraction, scenario).get(model)
        return None if figures is None else figures.mean

    cells = [
        (warm, cold)
        for pair in pairs
        for fraction in pair.fractions()
        for model in paper_numbers().models
        if not is_ablation(model)
        and (warm := mean(pair, model, "warm", fraction)) is not None
        and (cold := mean(pair, model, "cold", fraction)) is not None
    ]
    return f"{sum(warm < cold for warm, cold in cells)} of {len(cells)}" if cells else "–"
