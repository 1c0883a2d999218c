"""``make results`` in small: comparisons by the command, pages from what is there, nothing computed twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from scripts.results import run
from tests.servers import ENVIRONMENT
from tests.unit.training.experiment.samples import result
from tests.unit.training.tiny import write_domains

ROOT = Path(__file__).resolve().parents[3]


def results(folder: Path, *, only: list[str] | None = None, report_only: bool = False) -> None:
    """``main`` of the script, with everything below ``folder``."""
    options = {"seeds": 1, "test_fractions": "0.5", "jobs": 1}
    run.main(data=folder, out=folder / "out", docs=folder / "docs", only=only, report_only=report_only, **options)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The Douban pair, generated, where the script looks for it."""
    folder = tmp_path / "douban_books_music"
    folder.mkdir()
    for path, name in zip(write_domains(tmp_path), ("books", "music"), strict=True):
        pl.read_csv(path).write_parquet(folder / f"{name}.parquet")
    return tmp_path


def test_comparisons_become_pages_and_are_not_computed_again(
    data: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    results(data, only=["douban-robust"])
    assert "8 cells" in capfd.readouterr().err
    results(data, only=["douban-robust"])
    assert "8 of them are there already" in capfd.readouterr().err
    page = (data / "docs" / "robust.md").read_text(encoding="utf-8")
    assert "| Douban books → music | 0.5 |" in page
    assert (data / "docs" / "robust-change.svg").read_text(encoding="utf-8").startswith("<svg")
    assert "No cell has been computed yet" in (data / "docs" / "ranking.md").read_text(encoding="utf-8")


def test_reports_on_the_papers_systems_are_published_with_an_overview(data: Path) -> None:
    place = data / "out" / "douban-paper"
    place.mkdir(parents=True)
    lines = [
        result(model, seed=seed, scenario=scenario, rmse=rmse + seed / 100).line()
        for model, rmse in (("bias", 1.0), ("emcdr", 1.2), ("diffcdr", 1.1))
        for seed in (0, 1)
        for scenario in ("cold", "warm")
    ]
    (place / "results.jsonl").write_text("".join(lines), encoding="utf-8")
    (place / "report.md").write_text("![Figure 3](figure-3.svg)\n", encoding="utf-8")
    (place / "figure-3.svg").write_text("<svg/>", encoding="utf-8")
    (data / "docs").mkdir()
    (data / "docs" / "reading.md").write_text("By hand.", encoding="utf-8")
    results(data, report_only=True)
    page = (data / "docs" / "README.md").read_text(encoding="utf-8")
    assert "(douban-paper/report.md)" in page and "(reading.md)" in page
    assert "| Douban books → music | 0.2 | bias |" in page
    assert (data / "docs" / "douban-paper" / "figure-3.svg").read_text(encoding="utf-8") == "<svg/>"
    assert (data / "docs" / "reading.md").read_text(encoding="utf-8") == "By hand."


def test_a_mistake_is_one_sentence(data: Path) -> None:
    command = [sys.executable, "-m", "scripts.results.run", "--data", str(data), "--only", "douban-robst"]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **ENVIRONMENT}
    unknown = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)
    assert "there is no comparison 'douban-robst'; there are: movies-music-robust" in unknown.stderr
