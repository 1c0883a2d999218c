"""Plain lines when nobody watches, and no more of them than a log can bear; bars on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from diffcdr.progress import LINE_EVERY_S, Reporter, hint_on_interrupt, make_tables


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def plain() -> tuple[Reporter, io.StringIO, Clock]:
    output, clock = io.StringIO(), Clock()
    return Reporter(Console(file=output, width=40), clock=clock), output, clock


def test_plain_lines_are_rare_and_say_it_all() -> None:
    reporter, output, clock = plain()
    with reporter.task("Scoring", total=1000, unit="users") as task:
        for _ in range(100):
            clock.now += LINE_EVERY_S / 40
            task.advance(10, loss=0.5)
    lines = output.getvalue().splitlines()
    assert lines == [
        "Scoring: 40%, 400 of 1,000 users, 80 users/s, 0:08 left  loss 0.5",
        "Scoring: 80%, 800 of 1,000 users, 80 users/s, 0:02 left  loss 0.5",
        "Scoring: 1,000 users in 12.5 s (80 users/s)  loss 0.5",
    ]


def test_the_time_left_is_what_the_caller_estimates() -> None:
    reporter, output, clock = plain()
    known: list[float | None] = [None, 90.0]
    with reporter.task("cells", total=4, unit="cells", estimate=lambda: known.pop(0)) as task:
        for count in (1, 2, 1):
            clock.now += LINE_EVERY_S
            task.advance(count)
    assert output.getvalue().splitlines() == [
        "cells: 25%, 1 of 4 cells",
        "cells: 75%, 3 of 4 cells, 1:30 left",
        "cells: 4 cells in 15.0 s",
    ]


def test_parts_are_named_and_brief_ones_only_where_there_are_bars() -> None:
    reporter, output, _ = plain()
    with reporter.task("grid", total=2, unit="cells") as task:
        task.work_on("bias", brief=True)
        task.work_on("diffcdr")
        task.advance(2)
    assert output.getvalue().splitlines()[0] == "grid: diffcdr"


def test_plain_task_of_unknown_length() -> None:
    reporter, output, clock = plain()
    with reporter.task("Reading") as task:
        clock.now += 7200
        task.advance(3)
    assert output.getvalue().splitlines() == [
        "Reading: 3 rows, 0.00042 rows/s",
        "Reading: 3 rows in 2:00:00 (0.00042 rows/s)",
    ]


def test_a_task_that_fails_says_nothing_of_being_done() -> None:
    reporter, output, _ = plain()
    with pytest.raises(RuntimeError), reporter.task("Scoring", total=3) as task:
        task.advance()
        raise RuntimeError
    assert output.getvalue() == ""


def test_notes_are_text_not_markup() -> None:
    reporter, output, _ = plain()
    reporter.note("wrote [bold]x[/bold] to a path that is longer than the forty columns of this console")
    reporter.warn("mind [this]")
    assert output.getvalue().splitlines() == [
        "wrote [bold]x[/bold] to a path that is longer than the forty columns of this console",
        "warning: mind [this]",
    ]


def test_a_table_shows_every_cell() -> None:
    reporter, output, _ = plain()
    reporter.table("Results", ["model", "rmse"], [["bias", "0.93"], ["[x]", "1.02"]], emphasised=[0])
    lines = [line.rstrip() for line in output.getvalue().splitlines() if line.strip()]
    assert lines[0] == "Results"
    assert [line.split() for line in lines if line.split()[0] in ("model", "bias", "[x]")] == [
        ["model", "rmse"],
        ["bias", "0.93"],
        ["[x]", "1.02"],
    ]


def test_bars_on_a_terminal_nest_and_finish() -> None:
    output = io.StringIO()
    reporter = Reporter(Console(file=output, width=120, force_terminal=True, color_system=None))
    with reporter.task("Outer [1]", total=2, unit="models") as outer:
        for _ in range(2):
            with reporter.task("Inner", total=5) as inner:
                inner.advance(5, rmse=0.91)
            reporter.note("a note above")
            outer.advance()
    text = output.getvalue()
    assert "Outer [1]" in text
    assert "2/2 models" in text
    assert "5/5 rows" in text
    assert "rmse 0.91" in text
    assert "a note above" in text
    assert text.count("\x1b[?25h") == text.count("\x1b[?25l") == 1  # the cursor comes back


def test_one_of_something_is_no_plural_and_parts_are_told() -> None:
    stream = io.StringIO()
    reporter = Reporter(Console(file=stream, width=200))
    with reporter.task("bias", total=1, unit="epochs") as step:
        step.advance()
    with reporter.task("publish", total=2, unit="steps") as step:
        for part in ("tables", "map"):
            step.begin(part)
        step.advance()
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("bias: 1 epoch in ")
    assert lines[1:3] == ["publish: tables", "publish: map"]
    assert lines[3].startswith("publish: 2 steps in ")


def test_who_stops_a_command_hears_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    @hint_on_interrupt("stopped; --resume goes on")
    def command() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        command()
    assert capsys.readouterr().err == "stopped; --resume goes on\n"


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_a_wide_table_goes_on_below_and_no_number_is_cut(width: int) -> None:
    columns = ["model", *(f"metric_{number}@20" for number in range(9))]
    rows = [[name, *(f"{place}.{number}471 ± 0.0313 *" for number in range(9))] for place, name in enumerate("ab")]
    tables = make_tables("Quality", columns, rows, width=width, emphasised=[1])
    console = Console(file=io.StringIO(), width=width)
    for table in tables:
        console.print(table)
    shown = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, shown)) <= width
    for row in rows:
        for cell in row:
            assert sum(f"{cell} " in f"{line} " for line in shown) >= 1
    assert len(tables) == {40: 9, 60: 5, 80: 3, 100: 3, 200: 1}[width]
    assert sum("Quality" in line for line in shown) == 1
