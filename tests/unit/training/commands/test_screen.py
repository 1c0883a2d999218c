import dataclasses
import io

from rich.console import Console

from diffcdr.bundle.manifest import InputFile
from diffcdr.progress import Reporter
from training.commands.screen import cleaning_table, epoch_bar, honest_warnings, metrics_table, step_name
from training.data.findings import NOTE_LABELS, NOTES
from training.evaluation.evaluate import Metrics

GOOD = Metrics(
    mae=0.7, rmse=0.9, mae_clipped=0.7, rmse_clipped=0.9, ndcg=0.1, hr=0.5, recall=0.05, k=20, users=10, ratings=99
)


def with_figures(*, rmse: float = 0.9, ndcg: float = 0.1) -> Metrics:
    return dataclasses.replace(GOOD, rmse_clipped=rmse, ndcg=ndcg)


def test_warns_exactly_where_a_plain_baseline_wins() -> None:
    plain = {"bias": with_figures(), "popular": with_figures()}
    assert honest_warnings("new", {**plain, "new": with_figures()}) == []
    assert honest_warnings("new", {**plain, "new": with_figures(rmse=0.8, ndcg=0.2)}) == []
    (ranks,) = honest_warnings("new", {**plain, "new": with_figures(ndcg=0.05)})
    assert "ranks worse than the popular baseline (ndcg@20 0.0500 against 0.1000)" in ranks
    (predicts,) = honest_warnings("new", {**plain, "new": with_figures(rmse=1.1)})
    assert "predicts ratings worse than the bias baseline (rmse_clipped 1.1000 against 0.9000)" in predicts
    assert honest_warnings("bias", {"bias": with_figures()}) == []


def test_every_note_has_a_label_for_tables() -> None:
    assert NOTE_LABELS.keys() == NOTES.keys()
    file = InputFile(name="a", sha256="", rows_read=2, rows_kept=2, noted={"ids_blanks_taken_off": 1})
    assert ["noted: ids trimmed", "1"] in cleaning_table([file])[1]


def test_the_best_of_each_column_is_marked() -> None:
    columns, rows = metrics_table({"one": with_figures(rmse=0.8), "two": with_figures(ndcg=0.2)})
    assert columns == ["model", "rmse_clipped", "mae_clipped", "ndcg@20", "hr@20", "recall@20"]
    assert rows[0] == ["one", "0.8000*", "0.7000*", "0.1000 ", "0.5000*", "0.0500*"]
    assert rows[1] == ["two", "0.9000 ", "0.7000*", "0.2000*", "0.5000*", "0.0500*"]


def test_cleaning_is_told_by_reason_for_both_files() -> None:
    first = InputFile(name="a.csv", sha256="", rows_read=1200, rows_kept=1190, cleaning={"duplicate": 10})
    second = InputFile(name="b.csv", sha256="", rows_read=5, rows_kept=4, cleaning={"missing_user": 1})
    columns, rows = cleaning_table([first, second])
    assert columns == ["", "a.csv", "b.csv"]
    assert rows == [
        ["rows read", "1,200", "5"],
        ["left out: duplicate", "10", "0"],
        ["left out: missing user", "0", "1"],
        ["ratings kept", "1,190", "4"],
    ]


def test_epochs_that_a_resumed_run_skips_count_as_done() -> None:
    output = io.StringIO()
    reporter = Reporter(Console(file=output, width=200))
    with epoch_bar(reporter, "base-source", 9) as show:
        show(epoch=8, epochs=9, rows=10, figures={"mse": 0.5})
        show(epoch=9, epochs=9, rows=10, figures={"mse": 0.25})
    assert "source base model: 9 epochs" in output.getvalue()
    assert "mse 0.25" in output.getvalue()


def test_beside_the_bar_stands_the_figure_that_decides() -> None:
    output = io.StringIO()
    with epoch_bar(Reporter(Console(file=output, width=200)), "diffcdr", 1) as show:
        show(epoch=1, epochs=1, rows=10, figures={"dim_loss": 0.125, "rmse": 0.75, "mae": 0.5})
    assert "validation rmse 0.75" in output.getvalue()
    assert "dim_loss" not in output.getvalue()


def test_steps_say_what_they_are_and_closed_forms_when_they_begin() -> None:
    assert step_name("base-source") == "source base model"
    assert step_name("base-target-64-complete") == "target base model, 64 dimensions, validation users included"
    assert step_name("dual_ridge") == "dual_ridge"
    output = io.StringIO()
    reporter = Reporter(Console(file=output, width=100))
    for name in ("bias", "diffcdr"):
        with epoch_bar(reporter, name, 1) as show:
            show(epoch=1, epochs=1, rows=9, figures={"rmse": 0.9})
    lines = [line.split(" in ")[0] for line in output.getvalue().splitlines()]
    assert lines == ["bias: 1 epoch", "diffcdr: fitting", "diffcdr: 1 epoch"]
