"""What is said of two arms, by hand: ratios, verdicts, and when nothing may be said."""

from __future__ import annotations

import pytest

from service.feedback.arms import experiment_of
from service.feedback.experiments import experiments, rate
from service.state.events.kinds import ArmTotals, Trial
from tests.unit.service.feedback.lineups import CANARY, STABLE, lineup


def arms(
    *, percent: float, users: tuple[int, int], clickers: tuple[int, int], impressions: bool = True, name: str = "aa"
) -> list[ArmTotals]:
    return [
        ArmTotals(
            Trial(name, "stable" if number == 0 else "canary", percent, "b"),
            users[number],
            users[number] * 20 * impressions,
            clickers[number] * 3,
            0,
            clickers[number],
            0,
        )
        for number in (0, 1)
    ]


def test_a_ratio_is_of_users_and_knows_the_split() -> None:
    (found,) = experiments(arms(percent=20.0, users=(8000, 2000), clickers=(400, 110)), lineup(canary=None))
    clicks, conversions = found.comparisons
    assert clicks.ratio == pytest.approx((110 / 2000) / (400 / 8000))
    assert clicks.interval.low < 1.0 < clicks.interval.high and clicks.verdict == "undecided"
    assert (conversions.ratio, conversions.p_value, conversions.interval.low) == (None, 1.0, 0.0)
    assert found.sample_ratio is not None and not found.sample_ratio.mismatch
    assert (found.running, found.percent, found.sample_ratio.found) == (False, 20.0, 0.2)
    stable = rate(found.stable.clickers, found.stable)
    assert stable is not None and stable.share == 0.05 and stable.interval.low < 0.05 < stable.interval.high


@pytest.mark.parametrize(
    ("clickers", "users", "verdict"),
    [
        ((400, 700), (8000, 8000), "canary_better"),
        ((700, 400), (8000, 8000), "canary_worse"),
        ((0, 300), (8000, 8000), "canary_better"),
        ((700, 400), (8000, 6000), "sample_ratio_mismatch"),
        ((5, 9), (100, 100), "undecided"),
        ((0, 0), (0, 0), "undecided"),
    ],
)
def test_a_verdict_needs_evidence_and_users_who_come_as_they_were_assigned(
    clickers: tuple[int, int], users: tuple[int, int], verdict: str
) -> None:
    (found,) = experiments(arms(percent=50.0, users=users, clickers=clickers), lineup(canary=None))
    assert found.comparisons[0].verdict == verdict
    assert found.harm == (verdict == "canary_worse")


def test_without_impressions_there_are_no_rates_and_still_a_comparison() -> None:
    totals = arms(percent=50.0, users=(400, 700), clickers=(400, 700), impressions=False)
    (found,) = experiments(totals, lineup(canary=None))
    assert found.sample_ratio is None and rate(found.stable.clickers, found.stable) is None
    assert found.comparisons[0].verdict == "canary_better"


def test_the_split_that_runs_comes_first_and_is_there_before_any_event() -> None:
    plan = lineup(percent=10.0)
    running, before = experiments(arms(percent=50.0, users=(1, 1), clickers=(0, 0)), plan)
    assert (running.id, running.running, running.percent) == (experiment_of(plan).hex(), True, 10.0)
    assert (running.stable.trial.bundle, running.canary.trial.bundle) == (STABLE[:16], CANARY[:16])
    assert (running.stable.users, before.running) == (0, False)
    everybody = lineup(percent=100.0)
    assert experiments([], everybody)[0].comparisons == ()
    assert experiments([], lineup(canary=None)) == []
