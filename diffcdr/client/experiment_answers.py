"""Answers about canary against stable; see ``GET /v1/experiments`` for what the numbers mean."""

from __future__ import annotations

from diffcdr.client.answers import Answer


class RateShare(Answer):
    """A share of an arm's users, with an interval that holds at every look together, with 95 % certainty."""

    share: float
    low: float
    high: float


class ExperimentArm(Answer):
    """What came back of the lists of ``stable`` or ``canary``. Rates are None where no impressions are sent."""

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
    """Whether as many users came to the canary as were assigned to it."""

    expected_percent: float
    found_percent: float | None
    p_value: float
    mismatch: bool


class ArmComparison(Answer):
    """Users of the canary over users of stable who did ``metric`` at all. ``p_value`` holds at every look.

    ``verdict``: canary_better, canary_worse, undecided, or sample_ratio_mismatch. ``high`` is None for no bound.
    """

    metric: str
    ratio: float | None
    low: float
    high: float | None
    p_value: float
    verdict: str


class Experiment(Answer):
    """One traffic split, stable first. ``sample_ratio`` is None where no impressions are sent."""

    id: str
    running: bool
    percent: float
    arms: tuple[ExperimentArm, ...]
    sample_ratio: SampleRatioCheck | None
    comparisons: tuple[ArmComparison, ...]


class ExperimentsResult(Answer):
    """The split that runs, and those before, the last first."""

    experiments: tuple[Experiment, ...]
    attribution_hours: float
