"""Bodies of experiments, which compare the canary with stable."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from service.schemas.base import Body


class RateShare(Body):
    """A share of an arm's users, with a 95 % interval that holds over all looks together."""

    share: Annotated[float, Field(ge=0)]
    low: Annotated[float, Field(ge=0, le=1)]
    high: Annotated[float, Field(ge=0, le=1)]


class ExperimentArm(Body):
    """Feedback on the lists of one arm."""

    arm: Literal["stable", "canary"]
    bundle: Annotated[str, Field(description="Id of the bundle; its first 16 characters if it is no longer loaded.")]
    users: Annotated[int, Field(ge=0, description="Users with at least one event for a list of this arm.")]
    impressions: Annotated[int, Field(ge=0)]
    clicks: Annotated[int, Field(ge=0)]
    conversions: Annotated[int, Field(ge=0, description="Events of DIFFCDR_CONVERSION_TYPES.")]
    clickers: Annotated[int, Field(ge=0, description="Users with at least one click.")]
    converters: Annotated[int, Field(ge=0, description="Users with at least one conversion.")]
    click_rate: Annotated[RateShare | None, Field(description="As a share of users; null if no impressions are sent.")]
    conversion_rate: RateShare | None


class SampleRatioCheck(Body):
    """Whether the canary has as many users as were assigned to it; if not, events are lost or wrong."""

    expected_percent: float
    found_percent: float | None
    p_value: Annotated[float, Field(ge=0, le=1, description="Always valid; below 0.01 means a mismatch.")]
    mismatch: bool


class ArmComparison(Body):
    """Canary against stable, by users with at least one click or conversion."""

    metric: Literal["clicks", "conversions"]
    ratio: Annotated[float | None, Field(description="Rate of canary over rate of stable; null if the latter is 0.")]
    low: Annotated[float, Field(ge=0, description="Lower end of a 95 % interval that holds over all looks together.")]
    high: Annotated[float | None, Field(description="Upper end; null if unbounded.")]
    p_value: Annotated[float, Field(ge=0, le=1, description="Always valid: look as often as you like.")]
    verdict: Literal["canary_better", "canary_worse", "undecided", "sample_ratio_mismatch"]


class ExperimentReport(Body):
    """One traffic split. A new bundle, percentage or salt starts a new one."""

    id: str
    running: bool
    percent: Annotated[float, Field(description="Percentage of users assigned to the canary.")]
    arms: list[ExperimentArm]
    sample_ratio: Annotated[SampleRatioCheck | None, Field(description="Null if no impressions are sent.")]
    comparisons: list[ArmComparison]


class ExperimentsAnswer(Body):
    """The running split, and earlier splits with events, latest first."""

    experiments: list[ExperimentReport]
    attribution_hours: Annotated[float, Field(description="How long after a list events count for it.")]
