from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.edge import rate_limit as quota_module
from service.edge.rate_limit import Quota, RateLimited


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def taken(quota: Quota, caller: str, tries: int) -> int:
    """How many of ``tries`` requests at once are let through."""
    count = 0
    for _ in range(tries):
        try:
            quota.take(caller)
        except RateLimited:
            continue
        count += 1
    return count


@pytest.mark.parametrize(("rate", "burst"), [(0.5, 1), (1.0, 1), (3.0, 3), (7.0, 7), (49.0, 49), (2.5, 2)])
def test_a_second_s_worth_goes_at_once_and_comes_back(rate: float, burst: int) -> None:
    clock = Clock()
    quota = Quota(rate, clock=clock)
    assert taken(quota, "a", 100) == burst
    assert taken(quota, "b", 100) == burst, "callers do not share"
    clock.now += 1.001 / rate
    assert taken(quota, "a", 100) == 1
    clock.now += 3600
    assert taken(quota, "a", 100) == burst, "no more is saved up"


def test_after_the_time_named_the_next_request_is_taken() -> None:
    clock = Clock()
    quota = Quota(0.1, clock=clock)
    quota.take("a")
    clock.now += 2.5
    with pytest.raises(RateLimited) as limited:
        quota.take("a")
    assert limited.value.retry_after == 8
    clock.now += limited.value.retry_after
    quota.take("a")


def test_callers_who_stopped_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota_module, "SWEEP_CALLERS", 10)
    clock = Clock()
    quota = Quota(1.0, clock=clock)
    for number in range(1000):
        quota.take(str(number))
        clock.now += 0.5
        assert len(quota) <= 11
    with pytest.raises(RateLimited):
        # The last caller's bucket is not full yet: forgetting it would give it another request.
        clock.now -= 0.5
        quota.take("999")


@given(rate=st.floats(0.1, 1000), gaps=st.lists(st.floats(0, 5), min_size=1, max_size=60))
def test_no_span_of_time_lets_through_more_than_its_share(rate: float, gaps: list[float]) -> None:
    clock = Clock()
    quota = Quota(rate, clock=clock)
    times: list[float] = []
    for gap in gaps:
        clock.now += gap
        times += [clock.now] * taken(quota, "a", 3)
    for first in range(len(times)):
        for last in range(first, len(times)):
            assert last - first + 1 <= max(1.0, rate) + rate * (times[last] - times[first]) + 1e-5
