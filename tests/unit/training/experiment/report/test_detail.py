"""Tables and figures of where a model is good: means over seeds, what is missing, and what is marked."""

from __future__ import annotations

from xml.etree import ElementTree

from tests.unit.training.experiment.samples import result
from training.data.domains import DomainPair
from training.evaluation.detail import CUTOFFS, AtCutoff, CalibrationBin, Detail, ItemGroup, UserGroup
from training.experiment.plan import Grid, Setup
from training.experiment.report.report import make_report
from training.experiment.report.tables import ReportTable
from training.experiment.results import CellResult


def figures(ndcg: float, *, rating: bool = True) -> Detail:
    return Detail(
        tuple(AtCutoff(k, ndcg, 0.5, ndcg * k / 100, 0.25, k / 1000) for k in CUTOFFS),
        (UserGroup(1, 2, 4, 5, ndcg, 0.5, 0.1), UserGroup(10, 9, 30, 5, ndcg / 2, 0.5, 0.1)),
        (ItemGroup(1, 3, 20, ndcg, 0.75), ItemGroup(5, 1200, 0, None, 0.125), ItemGroup(0, 40, 2, 0.0, 0.125)),
        (CalibrationBin(1, 3, 2.0, 2.5), CalibrationBin(10, 1, 4.5, 4.0)) if rating else (),
    )


CELLS = [
    result("popular", rmse=None, detail=figures(0.1, rating=False)),
    result("bias", detail=None),
    *(result("diffcdr", seed=seed, detail=figures(0.2 + seed / 10)) for seed in (0, 1)),
    result("diffcdr", scenario="warm"),
]
GRID = Grid(("popular", "bias", "diffcdr"), (0.2,), 2)


def texts(table: ReportTable) -> dict[str, dict[str, str]]:
    return {
        row[0].text: dict(zip(table.columns[1:], (cell.text for cell in row[1:]), strict=True)) for row in table.rows
    }


def test_each_kind_of_figures_has_a_table_of_means_over_seeds(pair: DomainPair, setup: Setup) -> None:
    report = make_report(pair, setup, GRID, CELLS)
    tables = {table.title.removesuffix(", cold start, β = 0.2"): table for table in report.tables}
    lengths = texts(tables["Lists of other lengths"])
    assert list(lengths) == ["popular", "diffcdr"]
    shown = {
        "NDCG@10": "0.2500",
        "HR@50": "0.5000",
        "Recall@100": "0.2500",
        "MRR@20": "0.2500",
        "coverage@10": "0.0100",
    }
    assert shown.items() <= lengths["diffcdr"].items()
    assert "NDCG@20" not in lengths["diffcdr"]  # Table 2 has it

    histories = texts(tables["NDCG@20 by length of source history"])["diffcdr"]
    assert [histories[name] for name in ("1 (2–4)", "2", "10 (9–30)")] == ["0.2500", "–", "0.1250"]

    popularity = tables["Lists of 20 by popularity of items"]
    found = texts(popularity)["diffcdr"]
    assert found["found: 1, most popular (3)"] == "0.2500"
    assert found["found: 5, long tail (1,200)"] == "–"
    assert found["listed: unrated (40)"] == "0.1250"
    # More places for popular items are no better.
    marked = {name for row in popularity.rows for name, cell in zip(popularity.columns, row, strict=True) if cell.best}
    assert marked == {"found: 1, most popular (3)", "found: unrated (40)"}

    calibration = texts(tables["Calibration of predicted ratings"])
    assert list(calibration) == ["diffcdr"]
    assert (calibration["diffcdr"]["1"], calibration["diffcdr"]["2"]) == ("2.00 → 2.50", "–")
    assert calibration["diffcdr"]["mean difference"] == "0.500"


def test_figures_show_the_groups_and_the_calibration(pair: DomainPair, setup: Setup) -> None:
    shown = {figure.name: figure for figure in make_report(pair, setup, GRID, CELLS).figures}
    assert {"groups", "calibration"} <= shown.keys()
    assert all(ElementTree.fromstring(shown[name].svg).tag.endswith("svg") for name in ("groups", "calibration"))
    assert ">popular<" in shown["groups"].svg
    assert ">popular<" not in shown["calibration"].svg
    lists = make_report(pair, setup, GRID, CELLS[:2])
    assert "calibration" not in {figure.name for figure in lists.figures}


def test_a_line_of_results_keeps_them() -> None:
    cell = CELLS[2]
    assert CellResult.model_validate_json(cell.line()).detail == figures(0.2)
