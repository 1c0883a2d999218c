"""How every bench measures: ours and a reference implementation in turns, the median of each, and their ratio.

A ratio says the same on a slow machine and on a fast one; seconds do not. Both sides are measured in one process,
alternately, so that whatever else the machine does falls on both.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from diffcdr.errors import DiffCDRError

Size = Literal["short", "full"]
"""``short``: less data and fewer repeats, to guard the ratios in a minute. ``full``: the sizes of the documentation."""

AGAIN = 2
"""How often a row below its floor is measured again."""

Clock = Callable[[], float]
Work = Callable[[], object]


@dataclass(frozen=True)
class Point:
    """A row's place in a sweep: at ``x`` on the ``axis`` of the figure's ``panel``.

    ``limit``: the rate that operations or bytes at this machine's measured rate would allow, in the row's unit.
    """

    panel: str
    axis: str
    x: float
    limit: float
    lines: tuple[str, str, str] = ("reference", "ours", "floor")
    """What the figure calls the three."""


@dataclass(frozen=True)
class Row:
    """One comparison. ``ours`` and ``baseline`` are rates in ``unit`` (more is better), ``ratio`` their quotient.

    ``floor``: the least ratio that is accepted; None where the row only shows how cost grows.
    """

    bench: str
    case: str
    ours: float
    baseline: float
    ratio: float
    floor: float | None
    unit: str
    point: Point | None = None

    @property
    def holds(self) -> bool:
        """Whether the ratio is at its floor or above."""
        return self.floor is None or self.ratio >= self.floor

    def as_json(self) -> str:
        """One line, without the place in a sweep; figures to four significant digits."""
        return json.dumps({key: _rounded(value) for key, value in asdict(self).items() if key != "point"})


Bench = Callable[[Size], Iterator[Row]]
"""Measures rows one after the other."""


@dataclass(frozen=True)
class Comparison:
    """Two ways to do the same thing, and how often to try each.

    ``amount`` units are done by one call of ``ours``, ``baseline_amount`` (the same unless given) by one of
    ``baseline``. ``clock``: processor time of this process, all threads together, unless waiting is what counts.
    """

    bench: str
    case: str
    ours: Work
    baseline: Work
    amount: float
    unit: str
    floor: float | None
    baseline_amount: float | None = None
    repeats: int = 5
    clock: Clock = time.process_time
    point: Point | None = None

    def run(self) -> Row:
        """Measure; each side is called once before, for caches and lazy set-up.

        A row below its floor is measured again, twice at most, and the best one counts: what else a machine does can
        spoil a measurement, but a loss of speed spoils all.
        """
        row = self._once()
        for _ in range(AGAIN):
            if row.holds:
                break
            row = max(row, self._once(), key=lambda each: each.ratio)
        return row

    def _once(self) -> Row:
        ours, baseline = interleaved(self.ours, self.baseline, repeats=self.repeats, clock=self.clock)
        return make_row(
            self.bench,
            self.case,
            ours=self.amount / ours,
            baseline=(self.amount if self.baseline_amount is None else self.baseline_amount) / baseline,
            floor=self.floor,
            unit=self.unit,
            point=self.point,
        )


def make_row(
    bench: str,
    case: str,
    *,
    ours: float,
    baseline: float,
    floor: float | None,
    unit: str,
    point: Point | None = None,
) -> Row:
    """A row from two rates, both above 0."""
    return Row(bench, case, ours=ours, baseline=baseline, ratio=ours / baseline, floor=floor, unit=unit, point=point)


def limit_row(bench: str, case: str, *, figure: float, limit: float, unit: str, floor: float | None) -> Row:
    """A row for something that should be small: how many times it fits into its limit."""
    return Row(bench, case, ours=figure, baseline=limit, ratio=limit / max(figure, 1e-9), floor=floor, unit=unit)


def interleaved(ours: Work, baseline: Work, *, repeats: int, clock: Clock = time.process_time) -> tuple[float, float]:
    """Median seconds of one call of each, over ``repeats`` >= 1 turns after one turn that is not counted."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + 1):
        for work, taken in zip((ours, baseline), times, strict=True):
            seconds = timed(work, clock=clock)
            if turn:
                taken.append(seconds)
    return statistics.median(times[0]), statistics.median(times[1])


def timed(work: Work, *, clock: Clock = time.process_time) -> float:
    """Seconds of one call, never zero; of work that is too short for the clock, over as many calls as it takes."""
    calls = 1
    while True:
        start = clock()
        for _ in range(calls):
            work()
        seconds = clock() - start
        if seconds >= 0.01:
            return seconds / calls
        # Aim above the limit, so that the last try is the one that counts.
        calls = max(2 * calls, math.ceil(calls * 0.02 / max(seconds, 1e-4)))


def figure(value: float) -> str:
    """Three significant digits, with K or M for thousands or millions."""
    for size, unit in ((1e6, " M"), (1e3, " K")):
        if value >= size:
            return f"{value / size:.3g}{unit}" if value < 1000 * size else f"{value / size:,.0f}{unit}"
    return f"{value:.3g}"


def check_equal(
    what: str, ours: npt.NDArray[np.floating], baseline: npt.NDArray[np.floating], *, tolerance: float
) -> None:
    """Refuse to time a wrong answer.

    Raises:
        DiffCDRError: shapes differ, or values do by more than ``tolerance`` times the largest of the baseline.
    """
    if ours.shape != baseline.shape:
        raise DiffCDRError(f"{what}: the shapes {ours.shape} and {baseline.shape} differ; this is a defect, report it")
    difference = float(np.abs(ours - baseline).max(initial=0.0))
    scale = float(np.abs(baseline).max(initial=0.0))
    if not difference <= tolerance * scale:
        raise DiffCDRError(
            f"{what}: ours is {difference / (scale or 1.0):.1e} off the reference, more than {tolerance:.0e}; "
            "this is a defect, report it"
        )


def _rounded(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) else value
