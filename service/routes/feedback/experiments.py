"""Which bundle does better: canary against stable."""

from __future__ import annotations

import math

from fastapi import APIRouter, Request, Response

from service.bodies.responses import json_response
from service.bundles.registry import Lineup
from service.components import runtime_of
from service.edge.problems import responses
from service.feedback.experiments import (
    BUNDLE_CHARACTERS,
    Comparison,
    Experiment,
    Rate,
    SampleRatio,
    experiments,
    rate,
)
from service.schemas.experiments import (
    ArmComparison,
    ExperimentArm,
    ExperimentReport,
    ExperimentsAnswer,
    RateShare,
    SampleRatioCheck,
)
from service.state.events.kinds import ArmTotals

router = APIRouter(tags=["models"])


@router.get(
    "/v1/experiments",
    summary="Canary against stable, by clicks and conversions",
    response_class=Response,
    responses={
        200: {"model": ExperimentsAnswer},
        **responses("unauthenticated", "forbidden", "internal_error", "overloaded", "state_unavailable"),
    },
)
async def compare(request: Request) -> Response:
    """Impressions, clicks and conversions of each traffic split by arm, over all workers and replicas on one state.

    An event counts if it has a `recommendation_id` (POST /v1/events) of a list for a user whom the split assigned. All
    intervals and p-values are valid whenever and however often you look, so a split can be ended as soon as there is
    a verdict.
    """
    runtime = runtime_of(request)
    lineup = runtime.registry.lineup
    found = experiments(await runtime.store.trials(), lineup)
    answer = ExperimentsAnswer(
        experiments=[_report(experiment, lineup) for experiment in found],
        attribution_hours=runtime.settings.attribution_hours,
    )
    return json_response(answer.model_dump())


def _report(experiment: Experiment, lineup: Lineup) -> ExperimentReport:
    return ExperimentReport(
        id=experiment.id,
        running=experiment.running,
        percent=experiment.percent,
        arms=[_arm(arm, lineup) for arm in (experiment.stable, experiment.canary)],
        sample_ratio=_sample_ratio(experiment.sample_ratio),
        comparisons=[_comparison(comparison) for comparison in experiment.comparisons],
    )


def _arm(arm: ArmTotals, lineup: Lineup) -> ExperimentArm:
    known = {model_id[:BUNDLE_CHARACTERS]: model_id for model_id in lineup.models}
    return ExperimentArm(
        arm=arm.trial.arm,
        bundle=known.get(arm.trial.bundle, arm.trial.bundle),
        users=arm.users,
        impressions=arm.impressions,
        clicks=arm.clicks,
        conversions=arm.conversions,
        clickers=arm.clickers,
        converters=arm.converters,
        click_rate=_rate(rate(arm.clickers, arm)),
        conversion_rate=_rate(rate(arm.converters, arm)),
    )


def _rate(found: Rate | None) -> RateShare | None:
    if found is None:
        return None
    return RateShare(share=found.share, low=found.interval.low, high=found.interval.high)


def _sample_ratio(found: SampleRatio | None) -> SampleRatioCheck | None:
    if found is None:
        return None
    return SampleRatioCheck(
        expected_percent=found.expected * 100,
        found_percent=None if found.found is None else found.found * 100,
        p_value=found.p_value,
        mismatch=found.mismatch,
    )


def _comparison(found: Comparison) -> ArmComparison:
    high = found.interval.high
    return ArmComparison(
        metric=found.metric,
        ratio=found.ratio,
        low=found.interval.low,
        high=high if math.isfinite(high) else None,
        p_value=found.p_value,
        verdict=found.verdict,
    )
