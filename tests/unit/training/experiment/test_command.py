import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diffcdr.errors import DiffCDRError, InputError
from tests.command import run as diffcdr
from tests.unit.training.tiny import QUICK, write_domains
from training.commands.experiment_screen import CellTimes
from training.experiment.plan import Grid
from training.experiment.results import RESULTS
from training.experiment.runner import Outcome, run_blocks

SETTINGS = [part for override in QUICK for part in ("--set", override)]


def run(*args: str | Path) -> int:
    """The exit code of ``diffcdr experiment`` with ``args``."""
    return diffcdr("experiment", *args)


def main_ok(args: list[str]) -> None:
    """Run ``diffcdr`` with ``args``, which has to succeed."""
    assert not diffcdr(*args)


@pytest.fixture
def command(tmp_path: Path) -> list[str | Path]:
    source, target = write_domains(tmp_path)
    return ["--source", source, "--target", target, "--out", tmp_path / "out", "--preset", "reference", *SETTINGS]


def lines(out: Path) -> list[str]:
    return (out / RESULTS).read_text().splitlines()


def test_a_grid_grows_and_finished_cells_stay(
    tmp_path: Path, command: list[str | Path], capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    small = ["--models", "bias,emcdr", "--test-fractions", "0.2", "--seeds", "1"]
    assert run(*command, *small) == 0
    screen = capfd.readouterr().err
    for expected in ("60 users in both domains", "emcdr, beta 0.2, seed 0, cold", "experiment: 2 cells", "report.html"):
        assert expected in screen
    first = lines(out)
    assert [json.loads(line)["model"] for line in first] == ["bias", "emcdr"]

    # As a kill leaves it: the last line broken.
    (out / RESULTS).write_text(first[0] + "\n" + first[1][:50])
    assert run(*command, "--models", "bias,emcdr", "--test-fractions", "0.2,0.5", "--seeds", "2", "--warm") == 0
    assert (
        "16 cells: 2 models × 2 test fractions × 2 seeds × 2 scenarios; 1 of them are there already"
        in capfd.readouterr().err
    )
    second = lines(out)
    assert second[0] == first[0]
    assert len({json.dumps([json.loads(line)[key] for key in ("model", "test_fraction", "seed", "scenario")])
                for line in second}) == len(second) == 16  # fmt: skip
    again = next(json.loads(line) for line in second if json.loads(line)["model"] == "emcdr")
    assert again["rmse"] == json.loads(first[1])["rmse"]
    assert "warm start, β = 0.5" in (out / "report.html").read_text(encoding="utf-8")

    assert run(*command, *small) == 0
    assert lines(out) == second
    # The report is on what was asked for.
    assert "warm start" not in (out / "report.md").read_text(encoding="utf-8")


def test_who_stops_it_gets_a_report_on_what_is_finished(
    tmp_path: Path,
    command: list[str | Path],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stopped(*args: Any, **kwargs: Any) -> Iterator[Outcome]:
        yield next(run_blocks(*args, **kwargs))
        raise KeyboardInterrupt

    monkeypatch.setattr("training.experiment.experiment.run_blocks", stopped)
    assert run(*command, "--models", "bias,emcdr") == 130
    screen = capfd.readouterr().err
    assert "30 cells: 2 models × 3 test fractions × 5 seeds\n" in screen
    assert "--seeds 1 --test-fractions 0.2 computes 2 cells" in screen
    assert "experiment: bias, beta 0.2, seed 0, cold\n" in screen
    assert "report.html on the cells that are finished\nstopped; the same command goes on" in screen
    assert "29 of 30 cells are missing" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_the_time_left_is_that_of_the_models_left() -> None:
    cells = Grid(("bias", "diffcdr"), (0.2,), 3).cells()
    now = [0.0]
    times = CellTimes(cells, {}, clock=lambda: now[0])
    now[0] = 2.0
    times.finished(cells[0], 1.0)
    assert times.left() is None  # nobody knows yet how long diffcdr takes
    now[0] = 42.0
    times.finished(cells[1], 20.0)
    assert times.left() == pytest.approx(2 * (2 * 1.0 + 2 * 20.0))  # by the clock everything takes twice as long
    times.failed([cell for cell in cells if cell.model == "diffcdr"])
    assert times.left() == pytest.approx(2 * 2 * 1.0)
    gone_on = CellTimes(cells, dict.fromkeys(cells[:2], 5.0), clock=lambda: now[0])
    assert gone_on.left() is None and gone_on.usual(cells[2]) == 5.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--models", "bias,emcd"], "did you mean 'emcdr'?"),
        (["--preset", "papr"], "did you mean 'paper'?"),
        (["--test-fractions", "0.2,2"], "--test-fractions"),
        (["--test-fractions", "0.2,0.999"], "each needs at least one"),
        (["--set", "emcdr.epoch=3"], "did you mean 'epochs'?"),
        (["--rating-range", "5,1"], "--rating-range"),
        (["--source-columns", "who=user_id"], "--source-columns"),
        (["--target-columns", "user=item_id"], "'item_id' would be both the user and the item"),
        (["--source", "/nowhere/films.csv"], "/nowhere/films.csv"),
        (["--out", "/dev/null/out"], "choose another --out"),
    ],
)
def test_a_mistake_ends_with_one_sentence_before_any_training(
    command: list[str | Path], capfd: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert run(*command, *options) == InputError.exit_code
    screen = capfd.readouterr().err
    errors = [line for line in screen.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "beta" not in screen.replace(errors[0], "")


def test_other_settings_want_another_place(command: list[str | Path], capfd: pytest.CaptureFixture[str]) -> None:
    small = ["--models", "mean", "--test-fractions", "0.2", "--seeds", "1"]
    assert run(*command, *small) == 0
    assert run(*command, *small, "--set", "base.epochs=1") == InputError.exit_code
    assert "differs in settings" in capfd.readouterr().err


def test_what_cannot_be_trained_is_told_at_the_end_and_the_rest_reported(
    tmp_path: Path, command: list[str | Path], capfd: pytest.CaptureFixture[str]
) -> None:
    options = ["--models", "bias,emcdr", "--test-fractions", "0.2", "--seeds", "1", "--set", "emcdr.lr=1e30"]
    assert run(*command, *options) == DiffCDRError.exit_code
    screen = capfd.readouterr().err
    assert "warning: emcdr, beta 0.2, seed 0, cold: training diverged" in screen
    assert "error: not computed: 1 of emcdr" in screen
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "1 of 2 cells are missing" in report
    assert "| bias |" in report


def test_a_task_of_the_paper_by_its_number(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made, data = tmp_path / "made", tmp_path / "data"
    main_ok(["synth", "--out", str(made), "--users", "150", "--items", "60", "--ratings-per-user", "12",
             "--format", "amazon-json"])  # fmt: skip
    data.mkdir()
    options = ["--paper-task", "1", "--data", data, "--out", tmp_path / "out", "--models", "bias,diffcdr",
               "--test-fractions", "0.2", "--seeds", "1", *SETTINGS]  # fmt: skip
    (made / "films.json.gz").rename(data / "reviews_Movies_and_TV_5.json.gz")
    assert run(*options) == InputError.exit_code
    assert "has no reviews_CDs_and_Vinyl_5.json.gz, which task 1 of the paper needs" in capfd.readouterr().err
    (made / "books.json.gz").rename(data / "reviews_CDs_and_Vinyl_5.json.gz")
    assert run(*options) == 0
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "## Table 1 compared with the paper's" in report and "| users, source | 124 K |" in report
    assert "## Tables 2 and 3 compared with the paper's, task 1, cold start, β = 0.2" in report
    assert "| diffcdr | 1.0435 |" in report and "| diffcdr | 2.9 K |" in report
    for wrong in (["--paper-task", "1"], ["--data", data], ["--source", data]):
        assert run("--out", tmp_path / "out", *wrong) == InputError.exit_code
        assert "either --source and --target, or --paper-task" in capfd.readouterr().err
