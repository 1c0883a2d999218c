"""Tables that compare the measured figures with the paper's, for the paper's tasks."""

from __future__ import annotations

from training.data.domains import DomainPair
from training.experiment.paper import PaperTask, paper_numbers
from training.experiment.report.tables import ReportTable, TableCell
from training.experiment.statistics import METRICS
from training.experiment.summaries import Summaries

COMPARED = tuple(metric for metric in METRICS if metric.field in ("mae", "rmse", "ndcg", "hr"))

ROUNDING = 1
"""Thousands that may lie between a count and the paper's: it prints one file's ratings as 1,697 K and as 1,698 K."""

ON_LISTS = (
    "The paper's hit rates lie below its NDCG, which no definition per user allows, and its lists hold added negative "
    "samples; its NDCG and hit rates are not of the kind measured here (docs/reference/metrics.md). Its rating errors "
    "are not clipped, and its epochs were chosen, in the released code, on the test users; here they never are."
)


def counts_table(pair: DomainPair, task: PaperTask) -> ReportTable:
    """Table 1 of the paper against the files that were read."""
    theirs, domains = task.table_1, (pair.source, pair.target)
    counts = [
        (f"{what}, {side}", printed, found)
        for place, (side, domain) in enumerate(zip(("source", "target"), domains, strict=True))
        for what, printed, found in (
            ("users", theirs.users[place], len(domain.users)),
            ("items", theirs.items[place], len(domain.items)),
            ("ratings", theirs.ratings[place], len(domain.ratings)),
        )
    ]
    counts.append(("users in both", theirs.overlap, len(pair.overlap_source)))
    rows, different = [], []
    for what, printed, found in counts:
        agrees = abs(found / 1000 - printed) < ROUNDING
        if not agrees:
            different.append(what)
        texts = what, f"{printed:,} K", f"{found:,}", "as in the paper" if agrees else "differs"
        rows.append(tuple(map(TableCell, texts)))
    note = "These are the paper's data, as far as their counts tell."
    if different:
        note = (
            f"The files are not those of the paper, or not all of them: {', '.join(different)} "
            f"{'differs' if len(different) == 1 else 'differ'}. Merged duplicates, and ratings outside the range or "
            "without an id, which cleaning left out, explain differences of a few ratings; where counts are far apart, "
            "comparing figures with the paper's means little."
        )
    return ReportTable("Table 1 compared with the paper's", ("", "paper", "here", ""), tuple(rows), (note,))


def figures_table(summaries: Summaries, task: PaperTask, *, test_fraction: float) -> ReportTable | None:
    """Tables 2 and 3 of the paper against the cold results of ``test_fraction``; None with nothing to compare."""
    rows = []
    for model in summaries.cells(test_fraction, "cold"):
        printed = [task.figure(model, metric.field, test_fraction) for metric in COMPARED]
        if all(figure is None for figure in printed):
            continue
        row = [TableCell(model)]
        for metric, figure in zip(COMPARED, printed, strict=True):
            measured = summaries.figures(metric, test_fraction, "cold").get(model)
            row.append(TableCell("–" if figure is None else _short(figure)))
            row.append(TableCell("–" if measured is None else _short(measured.mean)))
        rows.append(tuple(row))
    if not rows:
        return None
    columns = ("model", *(f"{metric.label}, {whose}" for metric in COMPARED for whose in ("paper", "here")))
    title = f"Tables 2 and 3 compared with the paper's, task {task.number}, cold start, β = {test_fraction:g}"
    return ReportTable(title, columns, tuple(rows), (ON_LISTS,))


def speeds_table(summaries: Summaries) -> ReportTable | None:
    """Table 4 of the paper against what was measured; None where no model is in both."""
    printed, measured = paper_numbers().table_4, summaries.rates()
    rows = []
    for model, training, test in zip(printed.models, printed.training, printed.test, strict=True):
        if model in measured:
            rates = measured[model]
            rate = f"{rates.train / 1000:,.1f} K" if rates.train else "–"
            transferred = f"{rates.transfer / 1000:,.1f} K"
            rows.append(tuple(map(TableCell, (model, f"{training:g} K", rate, f"{test:g} K", transferred))))
    if not rows:
        return None
    columns = ("model", "training, paper", "training, here", "test, paper", "test, here")
    note = (
        "Samples a second. The paper measured on one core of 2 GHz with a P100, and does not say whether test samples "
        "are users or ratings; here: rows of training, and users carried across, on the CPU of these runs."
    )
    return ReportTable("Table 4 compared with the paper's", columns, tuple(rows), (note,))


def _short(value: float) -> str:
    return f"{value:.4f}" if value >= 0.1 else f"{value:.5f}"
