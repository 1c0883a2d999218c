"""Answers about experiments, canary against stable; ``GET /v1/experiments`` explains the numbers."""

from __future__ import annotations

from diffcdr.client.answers import Answer


class RateShare(Answer):
    """A share of an arm's users, with a 95 % interval that holds over all looks together."""

    share: float
    low: float
    high: float


class ExperimentArm(Answer):
    """Feedback on the lists of ``stable`` or ``canary``. Rates are None if no impressions are sent."""

    arm: str
    bundle: str
    users: int
    impressions: int
    clicks: int
    conversions: int
    clickers: int
    converters: int
    click_rate: RateShare | None
    conversion_rate: RateShare | None


class SampleRatioCheck(Answer):
    """Whether the canary has as many users as were assigned to it."""

    expected_percent: float
    found_percent: float | None
    p_value: float
    mismatch: bool


class ArmComparison(Answer):
    """Rate of ``metric`` in the canary over that in stable. ``p_value`` is valid at every look.

    ``verdict``: canary_better, canary_worse, undecided, or sample_ratio_mismatch. ``high`` is None if unbounded.
    """

    metric: str
    ratio: float | None
    low: float
    high: float | None
    p_value: float
    verdict: str


class Experiment(Answer):
    """One traffic split, stable first. ``sample_ratio`` is None if no impressions are sent."""

    id: str
    running: bool
    percent: float
    arms: tuple[ExperimentArm, ...]
    sample_ratio: SampleRatioCheck | None
    comparisons: tuple[ArmComparison, ...]


class ExperimentsResult(Answer):
    """The running split, and earlier ones, latest first."""

    experiments: tuple[Experiment, ...]
    attribution_hours: float
