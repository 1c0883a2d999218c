"""The gate lets in as many as the limit, a burst for a moment, and never more than that."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.edge.in_flight import (
    BURST,
    BURST_SECONDS,
    LONGEST_PAUSE_SECONDS,
    REFUSALS_A_SECOND,
    REFUSALS_AT_ONCE,
    REST_SECONDS,
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
    assert [pace.pause() for _ in range(REFUSALS_AT_ONCE)] == [0.0] * REFUSALS_AT_ONCE
    waits = [pace.pause() for _ in range(3 * REFUSALS_A_SECOND)]
    assert waits == sorted(waits)
    assert 0 < waits[0] < waits[100] and waits[-1] == LONGEST_PAUSE_SECONDS
    now[0] = 2 + REFUSALS_AT_ONCE / REFUSALS_A_SECOND
    assert pace.pause() == 0.0
