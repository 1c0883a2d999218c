"""The harness measures what it says it does, on a clock that the tests move."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench.harness import Comparison, check_equal, interleaved, make_row, timed
from diffcdr.errors import DiffCDRError


class Clock:
    """Moves only when work is done."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def __call__(self) -> float:
        return self.now

    def work(self, name: str, *seconds: float) -> object:
        left = list(seconds)

        def once() -> None:
            self.log.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return once


def test_sides_take_turns_and_the_first_turn_does_not_count() -> None:
    clock = Clock()
    ours, plain = clock.work("ours", 100.0, 1.0, 5.0, 2.0), clock.work("plain", 900.0, 4.0, 4.0, 8.0)
    assert interleaved(ours, plain, repeats=3, clock=clock) == (2.0, 4.0)
    assert clock.log == ["ours", "plain"] * 4


def test_short_work_is_repeated_until_the_clock_can_tell() -> None:
    clock = Clock()
    assert timed(clock.work("short", 0.001), clock=clock) == pytest.approx(0.001)
    assert len(clock.log) > 10


def test_work_below_the_clock_s_resolution_ends() -> None:
    ticks = iter([0.0, 0.0, 0.0, 0.0, 0.0, 0.5])
    assert 0.0 < timed(lambda: None, clock=lambda: next(ticks)) < 0.5


def test_a_comparison_gives_rates_and_their_ratio() -> None:
    clock = Clock()
    row = Comparison(
        bench="b",
        case="c",
        ours=clock.work("ours", 2.0),
        baseline=clock.work("plain", 10.0),
        amount=100.0,
        baseline_amount=50.0,
        unit="users/s",
        floor=10.0,
        clock=clock,
    ).run()
    assert (row.ours, row.baseline, row.ratio) == (50.0, 5.0, 10.0)
    assert row.holds


@pytest.mark.parametrize(
    ("seconds", "ratio"),
    [
        ((2.0, 1.0), 4.0),
        ((2.0, 1.0, 1.0, 0.5), 8.0),
        ((2.0, 1.0, 1.0, 1.0, 1.0, 0.5), 8.0),
        ((2.0, 1.0, 1.0, 2.0, 1.0, 1.0), 4.0),
    ],
)
def test_a_row_below_its_floor_is_measured_up_to_twice_more_and_the_best_counts(
    seconds: tuple[float, ...], ratio: float
) -> None:
    """Each measurement is one turn that does not count, and one that does."""
    clock = Clock()
    row = Comparison(
        bench="b",
        case="c",
        ours=clock.work("ours", *seconds),
        baseline=clock.work("plain", 4.0),
        amount=1.0,
        unit="users/s",
        floor=ratio if len(seconds) == 2 else 7.0,
        repeats=1,
        clock=clock,
    ).run()
    assert row.ratio == pytest.approx(ratio)
    assert clock.log.count("ours") == len(seconds)


@pytest.mark.parametrize(("floor", "holds"), [(None, True), (1.9, True), (2.0, True), (2.1, False)])
def test_a_row_holds_at_its_floor_and_above(floor: float | None, holds: bool) -> None:
    assert make_row("b", "c", ours=6.0, baseline=3.0, floor=floor, unit="x/s").holds is holds


def test_json_has_the_documented_keys_on_one_line() -> None:
    text = make_row("b", "c", ours=123456.0, baseline=3.0, floor=None, unit="x/s").as_json()
    assert "\n" not in text
    assert json.loads(text) == {
        "bench": "b",
        "case": "c",
        "ours": 123500.0,
        "baseline": 3.0,
        "ratio": 41150.0,
        "floor": None,
        "unit": "x/s",
    }


def test_a_wrong_answer_is_not_timed() -> None:
    right = np.array([1.0, -200.0])
    check_equal("sum", right + 0.1, right, tolerance=1e-3)
    for wrong in (right + 0.3, np.array([1.0, np.nan]), right[:1]):
        with pytest.raises(DiffCDRError, match=r"sum.* defect"):
            check_equal("sum", wrong, right, tolerance=1e-3)
