"""The gate lets in as many as the limit, a burst for a moment, and never more than that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.edge.in_flight import (
    BURST,
    BURST_SECONDS,
    LEAST_REFUSALS_A_SECOND,
    LONGEST_PAUSE_SECONDS,
    REFUSALS_A_SECOND,
    REFUSALS_AN_ANSWER,
    REST_SECONDS,
    SLACK_SECONDS,
    Gate,
    Pace,
)


class Clock:
    """A clock that goes as far as it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def gate_of(limit: int) -> tuple[Gate, Clock]:
    clock = Clock()
    return Gate(limit, retry_after=lambda: 1, clock=clock), clock


def test_a_burst_may_be_some_times_the_limit_and_no_more() -> None:
    gate, _ = gate_of(3)
    assert [gate.enter() for _ in range(BURST * 3 + 2)] == [True] * (BURST * 3) + [False] * 2
    assert gate.in_work == BURST * 3


def test_once_overload_lasts_the_limit_holds_and_after_a_rest_bursts_come_in_again() -> None:
    gate, clock = gate_of(3)
    for _ in range(4):
        assert gate.enter()
    clock.now += BURST_SECONDS + 0.01
    assert not gate.enter()
    gate.leave()
    assert not gate.enter()
    gate.leave()
    assert gate.enter()
    assert gate.in_work == 3
    clock.now += REST_SECONDS + 0.01
    assert gate.enter()


@given(st.integers(1, 5), st.lists(st.tuples(st.booleans(), st.floats(0.0, 0.3)), max_size=80))
def test_never_more_than_the_burst_and_always_up_to_the_limit(limit: int, steps: list[tuple[bool, float]]) -> None:
    gate, clock = gate_of(limit)
    inside = 0
    for comes, seconds in steps:
        clock.now += seconds
        if comes:
            entered = gate.enter()
            assert entered or inside >= limit
            assert not entered or inside < BURST * limit
            inside += entered
        elif inside:
            gate.leave()
            inside -= 1
        assert gate.in_work == inside


def test_refusals_are_free_up_to_a_rate_and_then_each_waits_its_turn() -> None:
    now = [0.0]
    pace = Pace(clock=lambda: now[0])
    free = round(REFUSALS_A_SECOND * SLACK_SECONDS)
    assert [pace.pause() for _ in range(free)] == [0.0] * free
    waits = [pace.pause() for _ in range(3 * REFUSALS_A_SECOND)]
    assert waits == sorted(waits)
    assert 0 < waits[1] < waits[100] and waits[-1] == LONGEST_PAUSE_SECONDS
    now[0] = 2 + SLACK_SECONDS
    assert pace.pause() == 0.0


@pytest.mark.parametrize("answers_a_second", [0, 40, 400, 4000, 40_000])
def test_callers_who_come_back_at_once_are_refused_about_as_often_as_others_are_answered(answers_a_second: int) -> None:
    """However fast the process is: a full core, a tenth of one, or one that stands still."""
    now, refused, step = 0.0, 0, 0.001
    pace = Pace(clock=lambda: now)
    back = [0.0] * 1000
    for turn in range(3000):
        now = turn * step
        for _ in range((turn + 1) * answers_a_second // 1000 - turn * answers_a_second // 1000):
            pace.answered()
        for caller, at in enumerate(back):
            if at <= now:
                back[caller] = now + pace.pause()
                refused += turn >= 1000
    wanted = min(max(REFUSALS_AN_ANSWER * answers_a_second, LEAST_REFUSALS_A_SECOND), REFUSALS_A_SECOND)
    # Each pause is a second at most, so a thousand callers are refused a thousand times a second.
    assert refused / 2 <= 1.3 * max(wanted, len(back) / LONGEST_PAUSE_SECONDS)
    assert refused / 2 >= 0.7 * wanted
