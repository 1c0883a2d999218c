import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from training.experiment.statistics import holm, paired_p, summarise


def test_mean_and_standard_error() -> None:
    summary = summarise([1.0, 2.0, 4.0])
    assert summary.mean == pytest.approx(7 / 3)
    assert summary.error == pytest.approx(math.sqrt(((4 / 3) ** 2 + (1 / 3) ** 2 + (5 / 3) ** 2) / 2 / 3))
    assert (summarise([2.0]).mean, summarise([2.0]).error) == (2.0, None)


def test_a_paired_test_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, standard error 1/sqrt(3), t = 2 sqrt(3) with 2 degrees of freedom;
    # there, p = 1 - t / sqrt(2 + t^2).
    t = 2 * math.sqrt(3)
    p = paired_p({0: 2.0, 1: 4.0, 2: 6.0, 9: 5.0}, {2: 3.0, 1: 2.0, 0: 1.0, 8: 0.0})
    assert p == pytest.approx(1 - t / math.sqrt(2 + t * t))


def test_paired_tests_without_a_spread() -> None:
    assert paired_p({0: 1.0}, {0: 2.0}) is None
    assert paired_p({0: 1.0, 1: 2.0}, {2: 1.0, 3: 2.0}) is None
    assert paired_p({0: 0.1, 1: 0.7}, {0: 0.1, 1: 0.7}) == 1.0
    assert paired_p({0: 0.3, 1: 0.9}, {0: 0.1, 1: 0.7}) == 0.0


def test_holm_by_hand() -> None:
    # Sorted: 0.01 x 4, 0.02 x 3, 0.03 x 2 (not below the one before), 0.9.
    assert holm([0.02, None, 0.9, 0.01, 0.03]) == [0.06, None, 0.9, 0.04, 0.06]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_no_correction_and_bonferronis(p_values: list[float]) -> None:
    corrected = [p for p in holm(p_values) if p is not None]
    pairs = sorted(zip(p_values, corrected, strict=True))
    assert all(p <= q <= min(1.0, len(p_values) * p) for p, q in pairs)
    assert [q for _, q in pairs] == sorted(corrected)
    assert max(corrected) >= max(stats.false_discovery_control(p_values)) - 1e-12  # Benjamini-Hochberg corrects less
