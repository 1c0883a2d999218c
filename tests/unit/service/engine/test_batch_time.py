import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.batch_time import Pace

seconds = st.floats(1e-6, 1.0)


@given(per_row=seconds, per_batch=seconds, rows=st.lists(st.integers(1, 256), min_size=2, max_size=40))
def test_planted_line_is_found_where_batch_sizes_differ(per_row: float, per_batch: float, rows: list[int]) -> None:
    pace = Pace()
    for count in [*rows, 1, 256]:
        pace.add(rows=count, seconds=per_row * count + per_batch)
    assert pace.coefficients() == pytest.approx((per_row, per_batch), rel=1e-3, abs=1e-6)


@given(batches=st.lists(st.tuples(st.integers(1, 256), seconds), min_size=1, max_size=40))
def test_estimates_are_never_negative_and_grow_with_rows(batches: list[tuple[int, float]]) -> None:
    pace = Pace()
    for rows, duration in batches:
        pace.add(rows=rows, seconds=duration)
    assert all(value >= -1e-12 and math.isfinite(value) for value in pace.coefficients())
    estimates = [pace.seconds(rows=rows, batch_rows=64) for rows in (1, 10, 64, 65, 1000)]
    assert estimates == sorted(estimates)


def test_equal_batches_are_put_on_the_rows() -> None:
    pace = Pace()
    for _ in range(5):
        pace.add(rows=10, seconds=0.02)
    assert pace.coefficients() == pytest.approx((0.002, 0.0))


def test_it_follows_a_machine_that_becomes_slower() -> None:
    pace = Pace()
    for factor in (1.0, 4.0):
        for rows in [1, 64] * 100:
            pace.add(rows=rows, seconds=factor * (0.0001 * rows + 0.001))
    assert pace.seconds(rows=64, batch_rows=64) == pytest.approx(4 * 0.0074, rel=0.05)


def test_nothing_known_costs_nothing() -> None:
    assert Pace().seconds(rows=100, batch_rows=10) == 0.0
