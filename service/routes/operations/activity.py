"""What happened in the last 15 minutes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.bodies.responses import json_response
from service.components import runtime_of
from service.edge.problems import responses
from service.metrics import SECONDS
from service.recent_activity import INTERVAL_SECONDS
from service.schemas.console import ActivityAnswer

router = APIRouter(tags=["health"])


class ActivityParameters(BaseModel):
    """Query parameters of recent activity."""

    model_config = ConfigDict(extra="forbid")

    since: Annotated[float, Field(ge=0, description="Only samples after this, in seconds since 1970.")] = 0.0


@router.get(
    "/v1/activity",
    summary="Totals of the last 15 minutes",
    response_class=Response,
    responses={
        200: {"model": ActivityAnswer},
        **responses("unauthenticated", "forbidden", "invalid_request", "internal_error"),
    },
)
async def activity(request: Request, parameters: Annotated[ActivityParameters, Query()]) -> Response:
    """Samples of the service's metrics, summed over all workers, every few seconds; for the console."""
    samples = await runtime_of(request).activity.samples(since=parameters.since)
    content = {
        "interval_seconds": INTERVAL_SECONDS,
        "latency_bounds": SECONDS,
        "samples": [sample.model_dump() for sample in samples],
    }
    return json_response(content)
