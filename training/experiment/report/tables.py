"""The report's tables, as data: Markdown and HTML are made from the same cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.data.domains import Domain, DomainPair
from training.experiment.comparison import Comparison
from training.experiment.paper import paper_numbers
from training.experiment.plan import Scenario
from training.experiment.statistics import METRICS, SIGNIFICANT, Metric, Summary
from training.experiment.summaries import Summaries

SUBJECT = "diffcdr"
"""The model the experiment is about: held against the best of the others."""

NOT_TRANSFERRED = ("mean", "popular")
"""Models that give all users the same vector: how fast that is says nothing."""

SCENARIOS: dict[Scenario, str] = {"cold": "cold start", "warm": "warm start"}


@dataclass(frozen=True)
class TableCell:
    """``text``, and whether it is the best of its column."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class ReportTable:
    """``rows`` are as long as ``columns``; ``notes`` are sentences below the table."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    notes: tuple[str, ...] = ()


def is_ablation(model: str) -> bool:
    """Whether ``model`` is DiffCDR with a part left out, which is no baseline."""
    return model.startswith(SUBJECT) and model != SUBJECT


def baselines_of(models: Iterable[str]) -> dict[str, set[str]]:
    """The ``models`` that ``SUBJECT`` is compared with, by kind: the paper's systems, those that it only discusses, and
    baselines. No kind is empty.
    """
    rivals = {model for model in models if not model.startswith(SUBJECT)}
    paper = paper_numbers()
    theirs, discussed = rivals & set(paper.models), rivals & set(paper.discussed)
    kinds = {
        "of the paper's systems": theirs,
        "of the systems it discusses": discussed,
        "of the other baselines": rivals - theirs - discussed,
    }
    return {kind: models for kind, models in kinds.items() if models}


def data_table(pair: DomainPair) -> ReportTable:
    """Table 1: what is in the data."""
    overlap = f"{len(pair.overlap_source):,}"
    rows = [_data_row(side, domain, overlap) for side, domain in (("source", pair.source), ("target", pair.target))]
    columns = ("domain", "file", "users", "items", "ratings", "users in both", "density", "ratings a user", "mean")
    notes = ("All users, held-out ones included; a bundle made with --held-out cold counts target users without them.",)
    return ReportTable("Table 1. Data", columns, tuple(rows), notes)


def result_table(
    summaries: Summaries,
    comparisons: Mapping[str, Sequence[Comparison]],
    *,
    title: str,
    test_fraction: float,
    scenario: Scenario,
    models: Sequence[str],
    groups: Mapping[str, Sequence[str]] | None = None,
) -> ReportTable:
    """Tables 2 and 3 for the results of one test fraction and scenario; ``comparisons`` of the same, by kind of rival.

    The best mean of a column is marked. ``groups``: rows before the models', of the best of some in each column.
    """
    groups = groups or {}
    rows = [[TableCell(name)] for name in (*groups, *models)]
    for metric in METRICS:
        means = summaries.figures(metric, test_fraction, scenario)
        chosen = [_best_of(means, group, metric) for group in groups.values()]
        entries = [(model, means.get(model)) for model in (*chosen, *models)]
        there = {model: each.mean for model, each in entries if each is not None}
        best = metric.best(there.values()) if len(there) > 1 else None  # nobody is best alone
        for place, (row, (model, summary)) in enumerate(zip(rows, entries, strict=True)):
            name = f" ({model})" if place < len(groups) else ""
            row.append(TableCell("–") if summary is None else TableCell(shown(summary) + name, summary.mean == best))
    for kind, found in comparisons.items():
        rows += _comparison_rows(found, kind) if found else []
    columns = ("model", *(metric.label for metric in METRICS))
    return ReportTable(title, columns, tuple(tuple(row) for row in rows))


def _best_of(means: Mapping[str, Summary], group: Sequence[str], metric: Metric) -> str:
    """The model of ``group`` with the best mean, of equals the first; empty where none has one."""
    there = [model for model in group if model in means]
    best = metric.best(means[model].mean for model in there) if there else None
    return next((model for model in there if means[model].mean == best), "")


def speed_table(summaries: Summaries) -> ReportTable:
    """Table 4: throughput of training and of the transfer, means over all cold cells of a model."""
    rows = []
    for model, rates in summaries.rates().items():
        rated = (rates.train, None, None) if model in NOT_TRANSFERRED else (rates.train, rates.transfer, rates.served)
        speeds = ["–" if not rate else f"{float(f'{rate:.3g}'):,.0f}" for rate in rated]
        rows.append(tuple(map(TableCell, (model, *speeds, f"{rates.seconds:.1f}"))))
    columns = ("model", "training, rows/s", "transfer, users/s", "served, users/s", "seconds a cell")
    notes = (
        "As measured in these runs; with several jobs at a time, each had a share of the machine. A dash: the "
        "model is solved in closed form and counts no rows, or all users have the same list and nothing is "
        "transferred. Transfer: at least 10,000 users in one batch by PyTorch, as in training; served: the same "
        "as a service does it, by the folded map or the graph on ONNX Runtime, of seed 0. Seconds are for "
        "training and measuring, without the base models.",
    )
    return ReportTable("Table 4. Throughput", columns, tuple(rows), notes)


def label(fraction: float, scenario: Scenario) -> str:
    """``cold start, β = 0.2``."""
    return f"{SCENARIOS[scenario]}, β = {fraction:g}"


def _data_row(side: str, domain: Domain, overlap: str) -> tuple[TableCell, ...]:
    users, items, ratings = len(domain.users), len(domain.items), len(domain.ratings)
    texts = (
        side,
        domain.file.name,
        f"{users:,}",
        f"{items:,}",
        f"{ratings:,}",
        overlap,
        f"{ratings / (users * items):.3%}",
        f"{ratings / users:.1f}",
        f"{domain.ratings.mean(dtype=np.float64):.2f}",
    )
    return tuple(map(TableCell, texts))


def _comparison_rows(comparisons: Sequence[Comparison], kind: str) -> list[list[TableCell]]:
    found = {comparison.metric: comparison for comparison in comparisons}

    def row(name: str, show: dict[Metric, str]) -> list[TableCell]:
        return [TableCell(name), *(TableCell(show.get(metric, "–")) for metric in METRICS)]

    return [
        row(f"best {kind}", {metric: each.baseline for metric, each in found.items()}),
        row("improvement over it", {metric: f"{each.improvement:+.1%}{_star(each)}" for metric, each in found.items()}),
        row("p, paired t-test", {metric: p_text(each.p) for metric, each in found.items()}),
        row("p, Holm-corrected", {metric: p_text(each.p_holm) for metric, each in found.items()}),
    ]


def _star(comparison: Comparison) -> str:
    """One star for a better figure significant by itself, two where it is after the correction too."""
    if comparison.improvement <= 0:
        return ""
    stars = "*" * sum(p is not None and p < SIGNIFICANT for p in (comparison.p, comparison.p_holm))
    return f" {stars}" if stars else ""


def shown(summary: Summary) -> str:
    """``0.9351 ± 0.0021``, without the error where there is one seed."""
    return f"{summary.mean:.4f}" if summary.error is None else f"{summary.mean:.4f} ± {summary.error:.4f}"


def p_text(value: float | None) -> str:
    """A p-value to four places; a dash where there is none."""
    if value is None:
        return "–"
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"
