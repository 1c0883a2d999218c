"""The sequential test: its formula by hand, and its error rates in a simulator that looks after every user."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.feedback.sequential import (
    ALPHA,
    MISMATCH_ALPHA,
    RATE_PRIOR,
    interval,
    log_mixture,
    p_value,
    split_prior,
)

DRAWS = st.integers(0, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
Ints = npt.NDArray[np.int64]


def test_the_mixture_by_hand() -> None:
    # A uniform prior: B(1 + x, 1 + n - x) = x! (n - x)! / (n + 1)!
    assert math.exp(log_mixture(2, 3, 0.5, prior=(1.0, 1.0))) == pytest.approx((1 / 12) / 0.5**3)
    assert log_mixture(0, 0, 0.3, prior=split_prior(0.3)) == 0.0
    assert log_mixture(1, 3, 0.0, prior=(1.0, 1.0)) == log_mixture(1, 3, 1.0, prior=(1.0, 1.0)) == math.inf
    assert (p_value(0, 0, 0.5, prior=(1.0, 1.0)), p_value(40, 40, 0.5, prior=(1.0, 1.0)) < 1e-9) == (1.0, True)


@given(DRAWS, st.floats(0.01, 0.99))
def test_the_interval_holds_what_is_not_ruled_out_and_nothing_else(draws: tuple[int, int], share: float) -> None:
    successes, count = draws
    for prior in (split_prior(share), RATE_PRIOR):
        found = interval(successes, count, prior=prior)
        assert 0.0 <= found.low <= (successes / count if count else 0.5) <= found.high <= 1.0
        for q in (found.low, found.high):
            if 1e-9 < q < 1.0 - 1e-9:  # nearer to the ends floats are too far apart
                assert log_mixture(successes, count, q, prior=prior) == pytest.approx(-math.log(ALPHA), abs=1e-3)
        inside = p_value(successes, count, share, prior=prior) > ALPHA
        assert inside == (found.low < share < found.high)


def most_evidence(is_canary: npt.NDArray[np.bool_], q: float, share: float) -> npt.NDArray[np.float64]:
    """ln of the largest M_n(q) over all n, of each row of draws; as :func:`log_mixture`, all looks at once."""
    x = np.cumsum(is_canary, axis=1)
    n = np.arange(1, x.shape[1] + 1)
    a, b = split_prior(share)

    def table(first: float) -> npt.NDArray[np.float64]:
        return np.array([math.lgamma(first + count) for count in range(x.shape[1] + 1)])

    log_m = table(a)[x] + table(b)[n - x] - table(a + b)[n] - (math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b))
    log_m -= x * math.log(q) + (n - x) * math.log1p(-q)
    row, look = 3, x.shape[1] // 2
    assert log_m[row, look] == pytest.approx(log_mixture(int(x[row, look]), look + 1, q, prior=(a, b)), abs=1e-6)
    return log_m.max(axis=1)


def first_clicks(
    rng: np.random.Generator, *, runs: int, users: int, share: float, lift: float
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Whose turn each event was in ``runs`` experiments: every first click, and every click, in the order of time.

    Users differ: few click often, most never. Those of the canary click ``lift`` times as often.
    """
    canary = rng.random((runs, users)) < share
    rates = 0.05 * rng.gamma(0.3, 1 / 0.3, (runs, users)) * np.where(canary, lift, 1.0)
    # Waiting times until the first click; a year is long.
    waits = rng.exponential(1.0, (runs, users)) / rates
    order = np.argsort(waits, axis=1)[:, : users // 40]
    first = np.take_along_axis(canary, order, axis=1)
    # The same few click on everything.
    clicks = rng.integers(0, 40, (runs, 1000))
    return first, np.take_along_axis(canary, clicks, axis=1)


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_without_a_difference_looking_all_the_time_errs_as_rarely_as_is_said(share: float) -> None:
    rng = np.random.default_rng(7)
    first, every = first_clicks(rng, runs=400, users=4000, share=share, lift=1.0)
    errors = most_evidence(first, share, share) > -math.log(ALPHA)
    assert errors.mean() <= ALPHA
    # And it is why a user counts once: clicks of the same few users are no independent draws.
    assert (most_evidence(every, share, share) > -math.log(ALPHA)).mean() > 2 * ALPHA
    # The sample ratio: users in the order in which they come.
    come = rng.random((4000, 1000)) < share
    assert (most_evidence(come, share, share) > -math.log(MISMATCH_ALPHA)).mean() <= MISMATCH_ALPHA
    lost = rng.random((100, 2000)) < share * 0.7
    assert (most_evidence(lost, share, share) > -math.log(MISMATCH_ALPHA)).mean() > (0.9 if share == 0.5 else 0.3)


@pytest.mark.parametrize(("lift", "found"), [(0.5, 0.95), (1.6, 0.85)])
def test_a_difference_is_found_and_its_interval_holds_at_all_looks(lift: float, found: float) -> None:
    rng = np.random.default_rng(11)
    share = 0.5
    turns = rng.random((1500, 700)) < share * lift / (share * lift + 1 - share)
    assert (most_evidence(turns, share, share) > -math.log(ALPHA)).mean() > found
    true = share * lift / (share * lift + 1 - share)
    missed = most_evidence(turns, true, share) > -math.log(ALPHA)
    assert missed.mean() <= ALPHA
