"""The route that takes events, used from the next request on."""

from __future__ import annotations

from collections import Counter
from functools import partial

from fastapi import APIRouter, Request, Response

from service.bodies.idempotency import IdempotencyKey, once
from service.bodies.openapi import reference, request_body
from service.bodies.requests import JSON, read_json
from service.bodies.responses import json_response
from service.components import runtime_of
from service.edge.problems import BODY_PROBLEMS, MAX_ERRORS, FieldError, Problem, responses
from service.feedback.intake import Unusable
from service.schemas import EventsAnswer, EventsRequest

DAY_SECONDS = 86_400.0

router = APIRouter(tags=["events"])


@router.post(
    "/v1/events",
    summary="Send ratings, impressions, clicks and purchases",
    response_class=Response,
    responses={
        200: {"model": EventsAnswer},
        **responses(
            *BODY_PROBLEMS,
            "idempotency_key_reused",
            "internal_error",
            "overloaded",
            "state_unavailable",
        ),
    },
    openapi_extra=request_body((JSON, reference("EventsRequest"))),
)
async def add_events(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Events apply from the next request on, on every replica. Source ratings serve users without a vector. Target
    ratings change the list of any user (`warm`), and their items count as seen. Other types count by their weight
    (`DIFFCDR_EVENT_WEIGHTS`): a purchase like the best rating; clicks and impressions not at all. An event with a
    `recommendation_id` also counts for the bundle that gave the list (GET /v1/experiments).

    Up to 1,000 events, durable before the answer. If one is invalid, all are refused. Sending an event twice is
    harmless because of its id: after any failure, send the same request again. The last 1,000 events of a user that
    count in lists are kept, and the last 1,000 others, until `DIFFCDR_EVENT_DAYS` days after the last one. Events of
    users who opted out or were erased are rejected.
    """
    runtime = runtime_of(request)
    wanted = await read_json(request, EventsRequest, limit=runtime.settings.max_bulk_body_bytes)
    return await once(request, idempotency_key, wanted.model_dump_json(), partial(_add, request, wanted))


async def _add(request: Request, wanted: EventsRequest) -> Response:
    runtime = runtime_of(request)
    try:
        events = runtime.feedback.ready([event.event() for event in wanted.events])
    except Unusable as error:
        raise _problem(error) from None
    with runtime.intake.take(len(events)):
        outcomes = await runtime.store.add_events(events, keep_seconds=runtime.settings.event_days * DAY_SECONDS)
    counts = Counter((outcome, event.type) for event, outcome in zip(events, outcomes, strict=True))
    for labels, count in counts.items():
        runtime.metrics.events.labels(*labels).inc(count)
    content = {
        "accepted": outcomes.count("accepted"),
        "duplicates": outcomes.count("duplicate"),
        "rejected": [
            {"index": index, "event_id": event.event_id, "code": "opted_out"}
            for index, (event, outcome) in enumerate(zip(events, outcomes, strict=True))
            if outcome == "suppressed"
        ],
        "request_id": request.scope["state"]["request_id"],
    }
    return json_response(content)


def _problem(error: Unusable) -> Problem:
    faults = [FieldError(pointer=f"/events/{fault.index}/{fault.field}", detail=fault.detail) for fault in error.faults]
    more = f" (and {len(faults) - 1} more of {len(faults)})" if len(faults) > 1 else ""
    detail = f"{faults[0].pointer}: {faults[0].detail}; no event of this request was stored{more}"
    return Problem("invalid_request", detail, errors=faults[:MAX_ERRORS])
