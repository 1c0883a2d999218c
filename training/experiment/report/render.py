"""Renders a report as Markdown and as one self-contained HTML file."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from training.experiment.report.figures import ReportFigure
from training.experiment.report.tables import ReportTable
from training.experiment.results import ResultsFile

MARKDOWN, HTML = "report.md", "report.html"

STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --soft: #595959; --paper: #fff; --line: #ddd; --mark: #0b62a8;
  --wash: #f4f7fa }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --soft: #a8a8a8; --paper: #15181c; --line: #363b41; --mark: #7fbcf0; --wash: #1d2228 }
  figure svg text { fill: var(--ink) !important }
  figure svg [style*="stroke: #000000"], figure svg [style*="stroke: #cccccc"] { stroke: var(--soft) !important }
  figure svg [style*="fill: #ffffff"] { fill: transparent !important }
  figure svg [style*="stroke: #ffffff"] { stroke: transparent !important }
  figure svg [style*="fill: #000000"], figure svg use[style*="stroke: #000000"],
  figure svg use:not([style]) { fill: var(--ink) !important }
}
* { box-sizing: border-box }
html { scroll-behavior: smooth }
body { font: 1rem/1.55 system-ui, sans-serif; max-width: 84rem; margin: 0 auto; padding: 1.5rem 1rem 4rem;
  color: var(--ink); background: var(--paper); overflow-wrap: break-word }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0.5rem 0 1rem }
h2 { font-size: 1.15rem; margin: 2.5rem 0 0.5rem; scroll-margin-top: 1rem }
p, li { max-width: 46rem } a { color: var(--mark) }
.reading { background: var(--wash); border-left: 4px solid var(--mark); padding: 0.75rem 1rem; border-radius: 4px }
.reading ul { margin: 0; padding-left: 1.1rem } .reading li + li { margin-top: 0.35rem }
nav ol { columns: 20rem; padding-left: 1.4rem; font-size: 0.92rem } nav a { text-decoration: none }
nav a:hover { text-decoration: underline } summary { cursor: pointer; color: var(--soft) }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; max-width: 100%; width: fit-content }
table { border-collapse: separate; border-spacing: 0; font-variant-numeric: tabular-nums; font-size: 0.84rem }
th, td { padding: 0.3rem 0.45rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line) }
tbody tr:last-child > * { border-bottom: 0 }
thead th { background: var(--wash); border-bottom: 2px solid var(--line); vertical-align: bottom }
tbody th { font-weight: 500 }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--paper);
  border-right: 1px solid var(--line); max-width: 11rem; white-space: normal; overflow-wrap: normal }
@media (max-width: 40rem) { th:first-child { max-width: 8rem } }
thead th:first-child { background: var(--wash) }
tbody tr:hover > * { background: var(--wash) }
td strong { color: var(--mark) }
figure { margin: 0.5rem 0 1rem; overflow-x: auto }
figure svg { display: block; width: 100%; max-width: 62rem; min-width: 34rem; height: auto }
figcaption, .note { color: var(--soft); font-size: 0.9rem; max-width: 46rem }
figcaption { position: sticky; left: 0 }
@media print { nav { display: none } .scroll, figure { overflow: visible } }
"""


@dataclass(frozen=True)
class Report:
    """The content of a report, before it is rendered.

    ``reading``: sentences that say what the tables come to, shown first.
    """

    title: str
    introduction: tuple[str, ...]
    tables: tuple[ReportTable, ...]
    figures: tuple[ReportFigure, ...]
    reading: tuple[str, ...] = ()


def write_report(report: Report, out: ResultsFile) -> None:
    """Write both forms, and each figure as a file for the Markdown. Raises InputError where that cannot be done."""
    for figure in report.figures:
        out.write_text(f"{figure.name}.svg", figure.svg)
    out.write_text(MARKDOWN, as_markdown(report))
    out.write_text(HTML, as_html(report))


def as_markdown(report: Report) -> str:
    """The report in Markdown; figures are links to ``NAME.svg`` beside it."""
    parts = [f"# {_in_markdown(report.title, best=False)}"]
    if report.reading:
        parts.append("\n".join(f"- {_in_markdown(sentence, best=False)}" for sentence in report.reading))
    parts += report.introduction
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
    if report.reading:
        sentences = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in report.reading)
        body.append(f'<section class="reading" aria-label="In short"><ul>{sentences}</ul></section>')
    body.append(_contents([*(table.title for table in report.tables), *(figure.title for figure in report.figures)]))
    body += [f"<p>{html.escape(text)}</p>" for text in report.introduction]
    body += [_table(table) for table in report.tables]
    body += [
        f'<h2 id="{_anchor(figure.title)}">{html.escape(figure.title)}</h2>\n'
        f'<figure tabindex="0">{figure.svg}<figcaption>{html.escape(figure.caption)}</figcaption>'
        "</figure>"
        for figure in report.figures
    ]
    content = "\n".join(body)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(report.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{content}\n</body>\n</html>\n"
    )


def _contents(titles: list[str]) -> str:
    items = "".join(f'<li><a href="#{_anchor(title)}">{html.escape(title)}</a></li>' for title in titles)
    return f"<nav><details open><summary>Contents</summary><ol>{items}</ol></details></nav>"


def _table(table: ReportTable) -> str:
    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in table.columns)
    rows = "\n".join(
        f'<tr><th scope="row">{_html_cell(row[0].text, row[0].best)}</th>'
        f"{''.join(f'<td>{_html_cell(cell.text, cell.best)}</td>' for cell in row[1:])}</tr>"
        for row in table.rows
    )
    title, notes = (
        html.escape(table.title),
        "".join(f'\n<p class="note">{html.escape(note)}</p>' for note in table.notes),
    )
    return (
        f'<h2 id="{_anchor(table.title)}">{title}</h2>\n'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>{notes}"
    )


def _anchor(title: str) -> str:
    """An id: letters, digits and dashes; titles of one report differ in these."""
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def _in_markdown(text: str, best: bool) -> str:
    plain = re.sub(r"([|*_\\])", r"\\\1", text)
    return f"**{plain}**" if best else plain


def _html_cell(text: str, best: bool) -> str:
    return f"<strong>{html.escape(text)}</strong>" if best else html.escape(text)
