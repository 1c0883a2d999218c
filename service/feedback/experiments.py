"""Canary against stable: the counts of both arms, and the verdict on their difference.

Users are assigned to arms, so a user is one observation: each counts once, with the first click or conversion. Later
ones are ignored; otherwise one user who clicks on everything could decide the comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from service.bundles.registry import Lineup
from service.feedback.arms import NO_EXPERIMENT, experiment_of
from service.feedback.sequential import ALPHA, MISMATCH_ALPHA, RATE_PRIOR, Interval, interval, p_value, split_prior
from service.state.events.kinds import ArmTotals, Trial

BUNDLE_CHARACTERS = 16
Metric = Literal["clicks", "conversions"]
Verdict = Literal["canary_better", "canary_worse", "undecided", "sample_ratio_mismatch"]


@dataclass(frozen=True)
class Rate:
    """A share of an arm's users, with its confidence sequence."""

    share: float
    interval: Interval


@dataclass(frozen=True)
class Comparison:
    """Rate of ``metric`` in the canary divided by that in stable. ``high`` of the interval may be infinite.

    ``ratio``: None if no user of stable clicked (or converted).
    """

    metric: Metric
    ratio: float | None
    interval: Interval
    p_value: float
    verdict: Verdict


@dataclass(frozen=True)
class SampleRatio:
    """Whether the canary's share of users, ``found`` (None without users), matches the assigned one, ``expected``."""

    expected: float
    found: float | None
    p_value: float
    mismatch: bool


@dataclass(frozen=True)
class Experiment:
    """One experiment. ``sample_ratio`` is None if no impressions were sent."""

    id: str
    running: bool
    percent: float
    stable: ArmTotals
    canary: ArmTotals
    sample_ratio: SampleRatio | None
    comparisons: tuple[Comparison, ...]

    @property
    def harm(self) -> bool:
        """Whether the verdict is ``canary_worse`` for any metric."""
        return any(comparison.verdict == "canary_worse" for comparison in self.comparisons)


def experiments(totals: Sequence[ArmTotals], lineup: Lineup) -> list[Experiment]:
    """Every experiment in ``totals``, in their order; the one that runs in ``lineup`` comes first."""
    running = experiment_of(lineup)
    arms: dict[str, dict[str, ArmTotals]] = {} if running == NO_EXPERIMENT else {running.hex(): {}}
    for arm in totals:
        arms.setdefault(arm.trial.experiment, {})[arm.trial.arm] = arm
    return [_experiment(name, found, lineup, running=name == running.hex()) for name, found in arms.items()]


def rate(count: int, arm: ArmTotals) -> Rate | None:
    """``count`` as a share of the users of ``arm``; None without users, or without impressions to count them by."""
    if not arm.users or not arm.impressions:
        return None
    return Rate(count / arm.users, interval(count, arm.users, prior=RATE_PRIOR))


def _experiment(name: str, found: dict[str, ArmTotals], lineup: Lineup, *, running: bool) -> Experiment:
    percent = lineup.traffic.percent if running else next(iter(found.values())).trial.percent
    stable_id, canary_id = (lineup.stable.id, lineup.traffic.canary or "") if running else ("", "")
    stable = found.get("stable") or _nothing(Trial(name, "stable", percent, stable_id[:BUNDLE_CHARACTERS]))
    canary = found.get("canary") or _nothing(Trial(name, "canary", percent, canary_id[:BUNDLE_CHARACTERS]))
    share = percent / 100
    if not 0.0 < share < 1.0:  # no users, or all of them: there is nothing to compare
        return Experiment(name, running, percent, stable, canary, None, ())
    ratio = _sample_ratio(stable, canary, share)
    comparisons = (
        _compare("clicks", stable.clickers, canary.clickers, share, ratio),
        _compare("conversions", stable.converters, canary.converters, share, ratio),
    )
    return Experiment(name, running, percent, stable, canary, ratio, comparisons)


def _nothing(trial: Trial) -> ArmTotals:
    return ArmTotals(trial, users=0, impressions=0, clicks=0, conversions=0, clickers=0, converters=0)


def _sample_ratio(stable: ArmTotals, canary: ArmTotals, share: float) -> SampleRatio | None:
    if not stable.impressions + canary.impressions:
        return None
    users = stable.users + canary.users
    p = p_value(canary.users, users, share, prior=split_prior(share))
    return SampleRatio(share, canary.users / users if users else None, p, p < MISMATCH_ALPHA)


def _compare(metric: Metric, stable: int, canary: int, share: float, ratio: SampleRatio | None) -> Comparison:
    prior, draws = split_prior(share), stable + canary
    of_canary = interval(canary, draws, prior=prior)
    odds = share / (1.0 - share)
    bounds = Interval(_odds(of_canary.low) / odds, _odds(of_canary.high) / odds)
    p = p_value(canary, draws, share, prior=prior)
    verdict: Verdict = "undecided"
    if ratio is not None and ratio.mismatch:
        verdict = "sample_ratio_mismatch"
    elif p < ALPHA:
        verdict = "canary_better" if canary > share * draws else "canary_worse"
    return Comparison(metric, canary / stable / odds if stable else None, bounds, p, verdict)


def _odds(probability: float) -> float:
    return probability / (1.0 - probability) if probability < 1.0 else float("inf")
