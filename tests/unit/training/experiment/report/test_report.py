import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.unit.training.experiment.samples import result
from training.data.domains import DomainPair
from training.evaluation.beyond import BeyondAccuracy
from training.experiment.plan import Grid, Setup
from training.experiment.report.figures import style_of
from training.experiment.report.render import Report, as_html, as_markdown, write_report
from training.experiment.report.report import make_report
from training.experiment.results import CellResult, ResultsFile
from training.experiment.warm_scenario import FineTunedFigures
from training.models.registry import MODELS as REGISTRY

MODELS = ("bias", "popular", "diffcdr", "diffcdr-da")
GRID = Grid(MODELS, (0.2, 0.5), 3, ("cold", "warm"))
RESULTS = [
    result(
        cell.model,
        seed=cell.seed,
        test_fraction=cell.test_fraction,
        scenario=cell.scenario,
        rmse=None if cell.model == "popular" else {"bias": 1.0, "diffcdr": 0.9, "diffcdr-da": 0.95}[cell.model] + drift,
        ndcg=0.3 + 0.01 * MODELS.index(cell.model),
    )
    for cell in GRID.cells()
    for drift in [0.01 * cell.seed * (1 + MODELS.index(cell.model) / 10)]
]


@pytest.fixture
def report(pair: DomainPair, setup: Setup) -> Report:
    return make_report(pair, setup, GRID, RESULTS)


class Page(HTMLParser):
    """Headings, and every address that the page would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self._in_heading = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._in_heading = tag in ("h1", "h2")
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]

    def handle_endtag(self, tag: str) -> None:
        self._in_heading = False

    def handle_data(self, data: str) -> None:
        if self._in_heading:
            self.headings.append(data)


EXPECTED = [
    "films.csv → books.csv, preset reference",
    "Table 1. Data",
    *(f"Table {n}, cold start, β = {beta}" for n in ("2. Results", "3. Ablations") for beta in (0.2, 0.5)),
    *(f"Table {n}, warm start, β = {beta}" for n in ("2. Results", "3. Ablations") for beta in (0.2, 0.5)),
    "Table 4. Throughput",
    "Figure 3. Warm start against cold start",
    "Training curves",
]


def test_both_forms_hold_every_table_and_figure(report: Report) -> None:
    page, text = Page(as_html(report)), as_markdown(report)
    assert page.headings == EXPECTED
    assert re.findall(r"^##? (.*)$", text, flags=re.MULTILINE) == EXPECTED
    assert page.tags.count("table") == 10
    assert page.tags.count("svg") == 2


def test_the_page_asks_for_nothing_from_elsewhere(report: Report) -> None:
    text = as_html(report)
    assert all(address.startswith("#") for address in Page(text).fetched)
    assert not {"script", "link", "img", "iframe", "object"} & set(Page(text).tags)
    assert not re.search(r"@import|url\((?!#)", text)


def test_the_best_of_a_column_is_marked_and_compared(report: Report) -> None:
    table = next(table for table in report.tables if table.title == "Table 2. Results, cold start, β = 0.2")
    rows = {row[0].text: row[1:] for row in table.rows}
    assert list(rows) == ["bias", "popular", "diffcdr", "best of the other baselines", "improvement over it",
                          "p, paired t-test", "p, Holm-corrected"]  # fmt: skip
    assert [cell.best for cell in rows["diffcdr"]] == [True] * 7
    assert not any(cell.best for name in ("bias", "popular") for cell in rows[name])
    assert [cell.text for cell in rows["popular"]][:4] == ["–"] * 4
    assert [cell.text for cell in rows["best of the other baselines"]] == ["bias"] * 4 + ["popular"] * 3
    # 0.9 + 0.012 against 1 + 0.01, every seed alike enough to be significant.
    assert rows["improvement over it"][1].text == f"{1 - 0.912 / 1.01:+.1%} **"


def test_improvement_is_over_the_paper_s_systems_and_over_the_others(pair: DomainPair, setup: Setup) -> None:
    errors = {"bias": 0.8, "emcdr": 1.2, "lacdr": 1.1, "ptupcdr": 1.05, "savae": 0.9, "vdea": 0.95, "diffcdr": 1.0}
    errors |= {"diffcdr-at-task": 1.3}
    cells = [result(model, rmse=rmse) for model, rmse in errors.items()]
    tables = {table.title: table for table in make_report(pair, setup, Grid(tuple(errors), (0.2,), 1), cells).tables}
    rows = [[cell.text for cell in row[:2]] for row in tables["Table 2. Results, cold start, β = 0.2"].rows]
    assert rows[7:9] == [["best of the paper's systems", "ptupcdr"], ["improvement over it", f"{0.05 / 1.05:+.1%}"]]
    assert rows[11:13] == [["best of the systems it discusses", "savae"], ["improvement over it", f"{-0.1 / 0.9:+.1%}"]]
    assert rows[15:17] == [["best of the other baselines", "bias"], ["improvement over it", f"{-0.2 / 0.8:+.1%}"]]
    ablations = tables["Table 3. Ablations, cold start, β = 0.2"].rows
    assert [row[0].text for row in ablations] == ["best mapping-oriented CDR", "ptupcdr", "diffcdr-at-task", "diffcdr"]
    assert [row[1].text for row in ablations] == ["1.1000 (lacdr)", "1.0500", "1.3000", "1.0000"]
    assert [row[1].best for row in ablations] == [False, False, False, True]


def test_both_ways_to_warm_up_are_side_by_side(pair: DomainPair, setup: Setup) -> None:
    tuned = FineTunedFigures(0.7, 0.9, 0.7, 0.9, 0.4, 0.5, 0.3, best_epoch=3)
    cells = [result("bias", scenario="warm"), result("emcdr", scenario="warm", rmse=1.1, fine_tuned=tuned)]
    tables = make_report(pair, setup, Grid(("bias", "emcdr"), (0.2,), 1, ("cold", "warm")), cells).tables
    (table,) = (table for table in tables if table.title == "Fine-tuning, warm start, β = 0.2")
    (row,) = table.rows
    assert row[0].text == "emcdr"
    assert [cell.text for cell in row[3:5]] == ["1.1000", "0.9000"]
    assert table.columns[3:5] == ("RMSE, moved", "RMSE, trained")
    assert CellResult.model_validate_json(cells[1].line()).fine_tuned == tuned


def test_models_are_told_apart_by_colour_alone() -> None:
    """In Figure 4 a user is a dot, whatever the model."""
    assert len({style_of(model)[0] for model in REGISTRY}) == len(REGISTRY)


def test_figure_3_has_panels_for_every_fraction_and_metric(report: Report) -> None:
    svg = report.figures[0].svg
    assert all(svg.count(f">{label}<") == 2 for label in ("MAE", "RMSE", "NDCG@20"))
    assert svg.count("β = 0.2") == svg.count("β = 0.5") == 3


def test_figures_are_whole_svg_and_the_same_every_time(report: Report, pair: DomainPair, setup: Setup) -> None:
    again = make_report(pair, setup, GRID, RESULTS[::-1])
    for figure, same in zip(report.figures, again.figures, strict=True):
        assert ElementTree.fromstring(figure.svg).tag.endswith("svg")
        assert figure.svg == same.svg
    assert "diffcdr" in report.figures[0].svg
    assert "validation RMSE" in report.figures[1].svg


def test_what_lists_are_like_has_a_table_where_it_was_measured(pair: DomainPair, setup: Setup) -> None:
    def figures(coverage: float) -> BeyondAccuracy:
        return BeyondAccuracy(coverage=coverage, novelty=5.25, gini=0.9, head_share=0.5, similarity=0.2)

    cells = [result("popular"), *(result("diffcdr", seed=seed, beyond=figures(0.2 + seed / 10)) for seed in (0, 1))]
    report = make_report(pair, setup, Grid(("popular", "diffcdr"), (0.2,), 2), cells)
    (table,) = (table for table in report.tables if table.title == "Lists beyond accuracy, cold start, β = 0.2")
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["diffcdr", "0.250", "5.25", "0.900", "0.500", "0.200"]
    ]


def test_markup_in_names_stays_text(pair: DomainPair, setup: Setup) -> None:
    report = make_report(pair, setup, Grid(("bias",), (0.2,), 1), [result("bias")])
    odd = Report("<script>alert(1)</script> a|b_c*", (), report.tables, ())
    assert "<script>" not in as_html(odd)
    assert as_markdown(odd).startswith("# <script>alert(1)</script> a\\|b\\_c\\*\n")


def test_it_says_what_it_is_of_and_no_more(pair: DomainPair, setup: Setup) -> None:
    models = ("popular", "diffcdr")
    cells = [
        result(
            model, seed=seed, rmse=1.0 if model == "popular" else None, ndcg=0.2 + 0.1 * (model == "diffcdr") + drift
        )
        for seed, drift in ((0, 0.0), (1, 0.01))
        for model in models
    ]
    wide = replace(setup, rating_range=(1.0, 5.0), source_range=(1.0, 10.0))
    report = make_report(pair, wide, Grid(models, (0.2,), 2), cells)
    text = as_markdown(report)
    assert "Ratings are 1–10 (source) and 1–5 (target)." in text
    assert "over the best mean of the other baselines; *" in text and "of the paper's systems" not in text
    assert "With 2 seeds only very large differences" in text and "(2 seeds: only very large" in text
    assert "diffcdr's NDCG@20 is 1.49 × that of popular." in text
    table = next(table for table in report.tables if table.title.startswith("Table 2"))
    assert [[cell.best for cell in row[1:]] for row in table.rows[:2]] == [[False] * 7, [False] * 4 + [True] * 3]
    speeds = next(table for table in report.tables if table.title.startswith("Table 4"))
    assert [[cell.text for cell in row[2:4]] for row in speeds.rows] == [["–", "–"], ["5,000", "–"]]
    five = "\n".join(make_report(pair, setup, Grid(models, (0.2,), 5), cells).introduction)
    assert "very large differences" not in five and "Ratings are 1–5." in five


def test_a_report_on_one_seed_of_one_model(pair: DomainPair, setup: Setup) -> None:
    report = make_report(pair, setup, Grid(("bias",), (0.2, 0.5), 1), [result("bias", epochs=())])
    assert [table.title for table in report.tables] == [
        "Table 1. Data", "Table 2. Results, cold start, β = 0.2", "Table 4. Throughput"
    ]  # fmt: skip
    assert report.figures == ()
    assert any("1 of 2 cells are missing" in text for text in report.introduction)
    assert report.tables[1].rows[0][1].text == "1.0000"


def test_files(tmp_path: Path, report: Report) -> None:
    write_report(report, ResultsFile(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.md", "report.html", "figure-3.svg", "training-curves.svg"
    }  # fmt: skip
    links = re.findall(r"!\[.*\]\((.*)\)", (tmp_path / "report.md").read_text(encoding="utf-8"))
    assert all((tmp_path / link).is_file() for link in links) and len(links) == 2
