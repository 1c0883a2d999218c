"""``report.md`` and ``report.html`` from the results; the HTML is one file that asks for nothing from elsewhere."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from training.data.domains import DomainPair
from training.experiment.beyond_table import beyond_table
from training.experiment.embedding import Sample
from training.experiment.embedding_report import embedding_figure, embedding_table
from training.experiment.figures import ReportFigure, training_curves, warm_against_cold
from training.experiment.first_ratings import first_ratings
from training.experiment.paper import task_of
from training.experiment.paper_tables import beside_table, counts_table, speeds_table
from training.experiment.plan import Grid, Scenario, Setup
from training.experiment.results import CellResult, ResultsFile
from training.experiment.sampled_table import sampled_table
from training.experiment.statistics import compare
from training.experiment.tables import (
    SUBJECT,
    ReportTable,
    baselines_of,
    data_table,
    is_ablation,
    label,
    result_table,
    speed_table,
)

MARKDOWN, HTML = "report.md", "report.html"

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a }
table { border-collapse: collapse; margin: 0.5rem 0; font-variant-numeric: tabular-nums; font-size: 0.9rem }
th, td { padding: 0.25rem 0.7rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
thead th { border-bottom: 2px solid #888 }
figure { margin: 1rem 0 } figure svg { max-width: 100%; height: auto }
figcaption, .note { color: #555; font-size: 0.9rem } .scroll { overflow-x: auto }
"""


@dataclass(frozen=True)
class Report:
    """Everything the report says, before it is written in one language or the other."""

    title: str
    introduction: tuple[str, ...]
    tables: tuple[ReportTable, ...]
    figures: tuple[ReportFigure, ...]


def make_report(
    pair: DomainPair, setup: Setup, grid: Grid, results: Sequence[CellResult], *, sample: Sample | None = None
) -> Report:
    """The report on ``results``, which are of ``grid``; cells that are missing are said to be. ``sample``: Figure 4."""
    results = sorted(results, key=lambda result: grid.models.index(result.model))
    tables = [data_table(pair)]
    for scenario in grid.scenarios:
        tables += _result_tables(results, grid, scenario)
    tables.append(speed_table(results))
    tables += _paper_tables(pair, grid, results)
    vectors = [table for table in (embedding_table(sample),) if table is not None] if sample else []
    figures = (
        warm_against_cold(results),
        first_ratings(results),
        embedding_figure(sample) if sample else None,
        training_curves(results),
    )
    return Report(
        title=f"{pair.source.file.name} → {pair.target.file.name}, preset {setup.preset}",
        introduction=_introduction(setup, grid, results),
        tables=(*tables, *vectors),
        figures=tuple(figure for figure in figures if figure is not None),
    )


def write_report(report: Report, out: ResultsFile) -> None:
    """Write both forms, and each figure as a file for the Markdown. Raises InputError where that cannot be done."""
    for figure in report.figures:
        out.write_text(f"{figure.name}.svg", figure.svg)
    out.write_text(MARKDOWN, as_markdown(report))
    out.write_text(HTML, as_html(report))


def as_markdown(report: Report) -> str:
    """The report in Markdown; figures are links to ``NAME.svg`` beside it."""
    parts = [f"# {_in_markdown(report.title, best=False)}", *report.introduction]
    for table in report.tables:
        rows = [[_in_markdown(cell.text, cell.best) for cell in row] for row in table.rows]
        rule = ["---", *["---:"] * (len(table.columns) - 1)]
        lines = ["| " + " | ".join(row) + " |" for row in (table.columns, rule, *rows)]
        parts += [f"## {table.title}", "\n".join(lines), *table.notes]
    for figure in report.figures:
        parts += [f"## {figure.title}", f"![{figure.title}]({figure.name}.svg)", figure.caption]
    return "\n\n".join(parts) + "\n"


def as_html(report: Report) -> str:
    """The report as one HTML page, figures inside."""
    body = [f"<h1>{html.escape(report.title)}</h1>"]
    body += [f"<p>{html.escape(text)}</p>" for text in report.introduction]
    for table in report.tables:
        head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in table.columns)
        rows = "\n".join(f"<tr>{''.join(_html_cell(cell.text, cell.best) for cell in row)}</tr>" for row in table.rows)
        body.append(f"<h2>{html.escape(table.title)}</h2>")
        body.append(
            f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>'
        )
        body += [f'<p class="note">{html.escape(note)}</p>' for note in table.notes]
    for figure in report.figures:
        body.append(
            f'<h2>{html.escape(figure.title)}</h2>\n<figure id="{figure.name}">{figure.svg}'
            f"<figcaption>{html.escape(figure.caption)}</figcaption></figure>"
        )
    content = "\n".join(body)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(report.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{content}\n</body>\n</html>\n"
    )


def _result_tables(results: Sequence[CellResult], grid: Grid, scenario: Scenario) -> list[ReportTable]:
    """Table 2 for every test fraction, then Table 3 for every test fraction where there are ablations."""
    mine = [result for result in results if result.scenario == scenario]
    present = {result.model for result in mine}
    models = [model for model in grid.models if model in present]
    ablations = [model for model in models if is_ablation(model)]
    baselines = baselines_of(mine)
    against = compare(mine, SUBJECT, baselines=baselines, scenario=scenario)
    tables = []
    for fraction in grid.test_fractions:
        here = [result for result in mine if result.test_fraction == fraction]
        if here:
            tables.append(
                result_table(
                    here,
                    [each for each in against if each.test_fraction == fraction],
                    title=f"Table 2. Results, {label(fraction, scenario)}",
                    models=[model for model in models if model not in ablations],
                )
            )
    if ablations:
        shown = [*ablations, *(model for model in models if model == SUBJECT)]
        for fraction in grid.test_fractions:
            here = [result for result in mine if result.test_fraction == fraction]
            if here:
                title = f"Table 3. Ablations, {label(fraction, scenario)}"
                tables.append(result_table(here, [], title=title, models=shown))
    lists = (
        beyond_table(mine, test_fraction=fraction, scenario=scenario, models=models) for fraction in grid.test_fractions
    )
    sampled = (sampled_table(mine, test_fraction=fraction, models=models) for fraction in grid.test_fractions)
    return [*tables, *(table for table in (*lists, *sampled) if table is not None)]


def _paper_tables(pair: DomainPair, grid: Grid, results: Sequence[CellResult]) -> list[ReportTable]:
    """The paper's figures beside these, where the files are those of one of its tasks."""
    task = task_of(pair)
    if task is None:
        return []
    beside = (beside_table(results, task, test_fraction=fraction) for fraction in grid.test_fractions)
    return [table for table in (counts_table(pair, task), *beside, speeds_table(results)) if table is not None]


def _introduction(setup: Setup, grid: Grid, results: Sequence[CellResult]) -> tuple[str, ...]:
    total, low_high = len(grid.cells()), "–".join(f"{end:g}" for end in setup.rating_range)
    seeds = "one seed" if grid.seeds == 1 else f"{grid.seeds} seeds"
    versions = dict(sorted({item for result in results for item in result.versions.items()}))
    parts = [
        f"Models, test fractions (β: share of overlap users held out) and {seeds}: each seed is a split of its own "
        "with base models of its own, the same for all models. Every choice (epoch, weights) was made on validation "
        "users, "
        f"{setup.config.split.validation_fraction:.0%} of the overlap users that are not test users; test users were "
        f"measured once. Ratings are {low_high}.",
        "Figures are means over seeds ± one standard error; the best mean of a column is bold. Rating errors are "
        "pooled over ratings; lists are ranked over all target items and figures averaged over users. A dash: the "
        "model's scores are not ratings.",
        f"Improvement is that of {SUBJECT} over the baseline with the best mean; * significant at 0.05 by a paired "
        "t-test over seeds, ** also after Holm's correction for all tests of that scenario.",
    ]
    if "warm" in grid.scenarios:
        parts.append(
            "Warm start: half of each test user's target ratings, those rated first (by a seeded draw where the file "
            "has no times), move the user's transferred vector in closed form; the other half is predicted, and known "
            "items are not listed."
        )
    if len(results) < total:
        parts.append(f"{total - len(results)} of {total} cells are missing: they failed, or the run was stopped.")
    parts.append("Made with " + ", ".join(f"{name} {number}" for name, number in versions.items()) + ".")
    return tuple(parts)


def _in_markdown(text: str, best: bool) -> str:
    plain = re.sub(r"([|*_\\])", r"\\\1", text)
    return f"**{plain}**" if best else plain


def _html_cell(text: str, best: bool) -> str:
    return f"<td>{f'<strong>{html.escape(text)}</strong>' if best else html.escape(text)}</td>"
