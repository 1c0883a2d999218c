"""Progress output of long commands: bars with rate and ETA on a terminal, plain lines elsewhere.

    reporter = Reporter()
    with reporter.task("Scoring", total=len(users), unit="users") as task:
        for batch in batches:
            ...
            task.advance(len(batch), loss=0.41)
    reporter.note("wrote scores.parquet")

All of it goes to standard error; standard output is for answers. Nothing here is needed to compute a result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

LINE_EVERY_S = 5.0
"""Least time between two plain lines of one task."""


@dataclass
class Step:
    """A running task, as :meth:`Reporter.task` returns it."""

    description: str
    total: int | None
    unit: str
    started: float
    done: int = 0
    figures: dict[str, float] = field(default_factory=dict)
    part: str = ""
    """What of it is being done."""
    estimate: Callable[[], float | None] | None = None
    """Seconds left, or None if that cannot be told; without it, by the rate so far."""
    _show: Callable[[Step], None] = lambda step: None
    _tell: Callable[[Step], None] = lambda step: None
    _retitle: Callable[[Step], None] = lambda step: None

    def advance(self, count: int = 1, **figures: float) -> None:
        """``count`` more units are done; ``figures`` (losses, metrics) are shown beside them until replaced."""
        self.done += count
        self.figures.update(figures)
        self._show(self)

    def begin(self, part: str) -> None:
        """Name the part that begins, and count the part before as done."""
        if self.part:
            self.advance()
        self.part = part
        self._tell(self)

    def work_on(self, part: str, *, brief: bool = False) -> None:
        """Name the part that is being done; one that is ``brief`` gets no line of its own where there are no bars."""
        self.part = part
        (self._retitle if brief else self._tell)(self)

    def left(self, seconds: float) -> float | None:
        """Seconds left after ``seconds``; None if nobody can tell, or nothing is left."""
        if not self.total or self.done >= self.total:
            return None
        if self.estimate is not None:
            return self.estimate()
        return (self.total - self.done) * seconds / self.done if self.done and seconds > 0 else None


def no_estimate() -> None:
    """The ``estimate`` of a task whose parts take times of their own."""


@contextmanager
def hint_on_interrupt(hint: str) -> Iterator[None]:
    """On Ctrl-C, say how to resume. A context manager and a decorator for commands."""
    try:
        yield
    except KeyboardInterrupt:
        Reporter().note(hint)
        raise


class Reporter:
    """The output of a command to its user. One per command; tasks may nest."""

    def __init__(self, console: Console | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Report on ``console``, standard error unless given; ``clock`` counts seconds."""
        self.console = console or Console(stderr=True, highlight=False)
        self._clock = clock
        self._bars: Progress | None = None

    @contextmanager
    def task(
        self,
        description: str,
        total: int | None = None,
        *,
        unit: str = "rows",
        estimate: Callable[[], float | None] | None = None,
    ) -> Iterator[Step]:
        """Show a task of ``total`` units (None if unknown) until the block ends; ``estimate`` as in :class:`Step`."""
        step = Step(description, total, unit, started=self._clock(), estimate=estimate)
        if self.console.is_terminal:
            with self._bar(step):
                yield step
        else:
            last = self._clock()

            def line(step: Step) -> None:
                nonlocal last
                if self._clock() - last >= LINE_EVERY_S and step.done != step.total:  # the last line comes at once
                    last = self._clock()
                    self._print(self._line(step))

            step._show = line
            step._tell = lambda step: self._print(f"{step.description}: {step.part}")
            yield step
            self._print(self._last_line(step))

    def note(self, text: str) -> None:
        """Print one sentence above any bars."""
        self._print(text)

    def warn(self, text: str) -> None:
        """Print a warning that the reader should not miss."""
        self._print(text, label="warning: ", style="bold yellow")

    def table(
        self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, emphasised: Sequence[int] = ()
    ) -> None:
        """Show a table: the first column left-aligned, the others right; ``emphasised`` row numbers stand out."""
        self.console.print(make_table(title, columns, rows, emphasised=emphasised))

    @contextmanager
    def _bar(self, step: Step) -> Iterator[None]:
        outermost = self._bars is None
        bars = self._bars or _bars(self.console)
        if outermost:
            self._bars = bars
            bars.start()
        try:
            shown = bars.add_task(escape(step.description), total=step.total, step=step, figures="")
            step._show = lambda step: _update(bars, shown, step)
            step._tell = lambda step: bars.update(shown, description=escape(f"{step.description}: {step.part}"))
            step._retitle = step._tell
            yield
            bars.update(shown, description=escape(step.description))
            if step.total is None:
                bars.update(shown, total=step.done)
            bars.stop_task(shown)
        finally:
            if outermost:
                bars.stop()
                self._bars = None

    def _print(self, text: str, *, label: str = "", style: str = "") -> None:
        self.console.print(Text.assemble((label, style), text), soft_wrap=True)

    def _line(self, step: Step) -> str:
        seconds = self._clock() - step.started
        rate = step.done / seconds if seconds > 0 else 0.0
        parts = [amount(step.done, step.unit)]
        if step.total:
            parts = [f"{100 * step.done // step.total}%", f"{step.done:,} of {amount(step.total, step.unit)}"]
        if step.estimate is None:
            parts.append(f"{_rate(rate)} {step.unit}/s")
        if (left := step.left(seconds)) is not None:
            parts.append(f"{_clock_time(left)} left")
        return f"{step.description}: {', '.join(parts)}{_figures(step.figures)}"

    def _last_line(self, step: Step) -> str:
        seconds = self._clock() - step.started
        many = step.done > 1 and step.estimate is None
        speed = f" ({_rate(step.done / seconds)} {step.unit}/s)" if seconds >= 0.1 and many else ""
        took = f"{seconds:.1f} s" if seconds < 60 else _clock_time(seconds)
        return f"{step.description}: {amount(step.done, step.unit)} in {took}{speed}{_figures(step.figures)}"


def make_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    emphasised: Sequence[int] = (),
    align: Literal["left", "right"] = "right",
) -> Table:
    """A table as every command shows it; ``align`` holds for all columns but the first; no header if all are empty."""
    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        show_header=any(columns),
    )
    for place, column in enumerate(columns):
        table.add_column(escape(column), justify=align if place else "left", overflow="fold")
    for place, row in enumerate(rows):
        table.add_row(*(Text(cell) for cell in row), style="bold green" if place in emphasised else None)
    return table


def make_tables(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, width: int, emphasised: Sequence[int] = ()
) -> list[Table]:
    """A table as :func:`make_table` makes it, or several below each other where ``width`` characters hold no more.

    Each has the first column, and as many others as fit; no number is cut in two.
    """
    sizes = [max(cell_len(text) for text in (name, *(row[at] for row in rows))) for at, name in enumerate(columns)]
    groups: list[list[int]] = []
    left = 0
    for place, size in enumerate(sizes[1:], start=1):
        if not groups or left < size + _GAP:
            groups.append([])
            left = width - _EDGES - sizes[0]
        groups[-1].append(place)
        left -= size + _GAP
    return [
        make_table(
            title if not number else "",
            [columns[at] for at in (0, *group)],
            [[row[at] for at in (0, *group)] for row in rows],
            emphasised=emphasised,
        )
        for number, group in enumerate(groups)
    ]


_GAP, _EDGES = 3, 2
"""Characters between two columns, and outside of all."""


class _Amount(TextColumn):
    """Done of total, rate and time left, from the task's own average."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        done, step = int(task.completed), task.fields["step"]
        shown = f"{done:,}" if task.total is None else f"{done:,}/{int(task.total):,}"
        seconds = task.elapsed or 0.0
        rate = done / seconds if seconds > 0 else 0.0
        text = f"{shown} {_unit(int(task.total or done), step.unit)}"
        if step.estimate is None:
            text += f"  {_rate(rate)}/s"
        if not task.finished and (left := step.left(seconds)) is not None:
            text += f"  {_clock_time(left)} left"
        return Text(text, style="cyan")


def _bars(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        _Amount(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[figures]}", style="dim"),
        console=console,
        refresh_per_second=8,
    )


def _update(bars: Progress, shown: TaskID, step: Step) -> None:
    bars.update(shown, completed=step.done, figures=_figures(step.figures))


def _figures(figures: dict[str, float]) -> str:
    return "".join(f"  {name} {value:.4g}" for name, value in figures.items())


def amount(count: int, units: str) -> str:
    """``1,204 users``, ``1 user``."""
    return f"{count:,} {_unit(count, units)}"


def _unit(count: int, units: str) -> str:
    return units.removesuffix("s") if count == 1 else units


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
