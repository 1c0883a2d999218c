"""Bodies about comparisons of the canary with stable."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from service.schemas.base import Body


class RateShare(Body):
    """A share of an arm's users, and an interval that holds at every look together, with 95 % certainty."""

    share: Annotated[float, Field(ge=0)]
    low: Annotated[float, Field(ge=0, le=1)]
    high: Annotated[float, Field(ge=0, le=1)]


class ExperimentArm(Body):
    """What came back of the lists of one arm."""

    arm: Literal["stable", "canary"]
    bundle: Annotated[str, Field(description="Its id; the first 16 characters where it is not loaded any more.")]
    users: Annotated[int, Field(ge=0, description="Users of whom an event names a list of this arm.")]
    impressions: Annotated[int, Field(ge=0)]
    clicks: Annotated[int, Field(ge=0)]
    conversions: Annotated[int, Field(ge=0, description="Events of DIFFCDR_CONVERSION_TYPES.")]
    clickers: Annotated[int, Field(ge=0, description="Users who clicked at all.")]
    converters: Annotated[int, Field(ge=0, description="Users with a conversion.")]
    click_rate: Annotated[RateShare | None, Field(description="Of the users; null where no impressions are sent.")]
    conversion_rate: RateShare | None


class SampleRatioCheck(Body):
    """Whether as many users came to the canary as were assigned to it; if not, events are lost or wrong."""

    expected_percent: float
    found_percent: float | None
    p_value: Annotated[float, Field(ge=0, le=1, description="Always valid; below 0.01 it is a mismatch.")]
    mismatch: bool


class ArmComparison(Body):
    """Users of the canary against users of stable, by who clicked or converted at all."""

    metric: Literal["clicks", "conversions"]
    ratio: Annotated[float | None, Field(description="Canary over stable; null where nobody of stable did.")]
    low: Annotated[float, Field(ge=0, description="Of an interval that holds at every look together, 95 %.")]
    high: Annotated[float | None, Field(description="Null for no bound.")]
    p_value: Annotated[float, Field(ge=0, le=1, description="Always valid: look as often as you like.")]
    verdict: Literal["canary_better", "canary_worse", "undecided", "sample_ratio_mismatch"]


class ExperimentReport(Body):
    """One traffic split; another bundle, percentage or salt begins another."""

    id: str
    running: bool
    percent: Annotated[float, Field(description="Percent of users who were assigned to the canary.")]
    arms: list[ExperimentArm]
    sample_ratio: Annotated[SampleRatioCheck | None, Field(description="Null where no impressions are sent.")]
    comparisons: list[ArmComparison]


class ExperimentsAnswer(Body):
    """The split that runs, and those before of which there are events, the last first."""

    experiments: list[ExperimentReport]
    attribution_hours: Annotated[float, Field(description="For so long after a list events count for it.")]
