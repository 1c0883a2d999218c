"""The report in a real browser: everything there, nothing wrong, nothing fetched, wide and narrow, light and dark."""

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from tests.browser import visit
from tests.unit.training.experiment.samples import result
from tests.unit.training.experiment.test_paper import named
from training.data.domains import DomainPair
from training.experiment.embedding import SOURCE, TRUE, Cloud, Panel, Sample
from training.experiment.plan import Grid, Setup
from training.experiment.report.render import HTML, Report, write_report
from training.experiment.report.report import make_report
from training.experiment.results import ResultsFile
from training.experiment.warm_scenario import WarmPoint

MODELS = ("bias", "popular", "emcdr", "diffcdr", "diffcdr-da")
GRID = Grid(MODELS, (0.2, 0.5), 3, ("cold", "warm"))


def clouds(*names: str) -> dict[str, Cloud]:
    rng = np.random.default_rng(5)
    return {
        name: Cloud(rng.normal(size=(30, 4)).astype(np.float32), rng.normal(size=(30, 2)).astype(np.float32))
        for name in names
    }


@pytest.fixture(scope="module")
def report(pair: DomainPair, setup: Setup) -> Report:
    results = [
        result(
            cell.model,
            seed=cell.seed,
            test_fraction=cell.test_fraction,
            scenario=cell.scenario,
            rmse=1.0 + 0.01 * cell.seed + 0.1 * MODELS.index(cell.model),
            first_ratings=[WarmPoint(known=n, ndcg=0.1 + n / 100, rmse_clipped=1.0 - n / 100)
                           for n in (0, 1, 5)] if cell.scenario == "warm" else (),
        )
        for cell in GRID.cells()
    ]  # fmt: skip
    sample = Sample(
        0.2,
        MODELS,
        (
            Panel("train", "models", clouds(TRUE, "emcdr", "diffcdr")),
            Panel("test", "models", clouds(TRUE, "emcdr", "diffcdr")),
            Panel("train", "nfe", clouds(TRUE, SOURCE, "1 NFE", "30 NFE")),
            Panel("test", "nfe", clouds(TRUE, SOURCE, "1 NFE", "30 NFE")),
        ),
    )
    return make_report(named(pair, 1), setup, GRID, results, sample=sample)


@pytest.fixture(scope="module")
def address(report: Report, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("report")
    write_report(report, ResultsFile(folder))
    return (folder / HTML).as_uri()


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("dark", [False, True])
def test_every_table_and_figure_is_there_and_nothing_is_wrong(
    chromium: Browser, report: Report, address: str, width: int, dark: bool
) -> None:
    with visit(chromium, width=width, dark=dark) as seen:
        page = seen.page
        page.goto(address)
        headings = page.locator("h2").all_inner_texts()
        for wanted in (
            *("Table 1. Data", "Table 2. Results, cold start, β = 0.2", "Table 3. Ablations, warm start, β = 0.5"),
            *("Table 4. Throughput", "Figure 4 in numbers"),
            *("Table 1 compared with the paper's", "Table 4 compared with the paper's"),
            "Tables 2 and 3 compared with the paper's, task 1, cold start, β = 0.5",
            *("Figure 3. Warm start against cold start", "Figure 3b. Quality with the first target ratings"),
            *("Figure 4. Transferred against true target vectors", "Training curves"),
        ):
            assert wanted in headings
        assert page.locator("table").count() == len(report.tables)
        assert page.locator("figure > svg").count() == len(report.figures) == 4
        for figure in page.locator("figure > svg").all():
            box = figure.bounding_box()
            assert box is not None and box["width"] > 300 and box["height"] > 100
        assert seen.overflow() <= 0
        assert (seen.errors, seen.requests) == ([], [address])


def test_the_contents_lead_to_every_table_and_figure(chromium: Browser, address: str) -> None:
    with visit(chromium) as seen:
        seen.page.goto(address)
        links = seen.page.locator("nav a")
        assert links.count() == seen.page.locator("h2").count()
        ids = seen.page.evaluate("[...document.querySelectorAll('[id]')].map(each => each.id)")
        assert len(ids) == len(set(ids))
        for link in links.all():
            target = (link.get_attribute("href") or "").removeprefix("#")
            assert seen.page.evaluate("id => document.getElementById(id).innerText", target) == link.inner_text()


def test_the_first_column_stays_in_sight(chromium: Browser, address: str) -> None:
    with visit(chromium, width=360) as seen:
        seen.page.goto(address)
        box = seen.page.locator(".scroll").nth(1)
        assert box.evaluate("box => { box.scrollLeft = 1000; return box.scrollLeft }") > 100
        first = box.locator("tbody th").first
        where = first.bounding_box()
        assert where is not None and where["x"] >= 0
        assert first.inner_text() == "bias"


def test_dark_pages_have_light_ink_in_figures_too(chromium: Browser, address: str) -> None:
    colour = "svg => getComputedStyle(svg.querySelector('text')).fill"
    inks = []
    for dark in (False, True):
        with visit(chromium, dark=dark) as seen:
            seen.page.goto(address)
            inks.append(seen.page.locator("figure > svg").first.evaluate(colour))
    assert inks == ["rgb(0, 0, 0)", "rgb(230, 230, 230)"]


def test_it_says_first_what_it_comes_to(chromium: Browser, address: str) -> None:
    with visit(chromium) as seen:
        seen.page.goto(address)
        text = seen.page.locator(".reading").inner_text()
    assert "Cold start: lowest RMSE clipped: bias (1.0100 at β = 0.2, 1.0100 at β = 0.5)." in text
    assert "Warm start: diffcdr has a better mean than the best other model in 0 of 14 figures" in text
    assert "diffcdr's RMSE clipped is 1.30, 1.30 × that of bias, by β" in text
