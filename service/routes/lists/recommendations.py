"""Recommendations for one user."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from diffcdr.recommend import recommender
from diffcdr.recommend.recommender import Recommendation
from service.bodies.openapi import reference, request_body
from service.bodies.requests import JSON, read_json
from service.bodies.responses import json_response, list_content, user_unknown
from service.components import runtime_of
from service.edge.middleware import from_console
from service.edge.problems import responses
from service.edge.server_timing import timing_headers
from service.routes.lists.enrich import informed
from service.routes.lists.filters import require_askable
from service.routes.parameters import UserInAddress
from service.schemas import RecommendationAnswer, RecommendationParameters, RecommendationRequest

ADDRESS = "/v1/recommendations"

router = APIRouter(tags=["recommendations"])

_QUERY_PROBLEMS = (
    "unauthenticated",
    "forbidden",
    "user_unknown",
    "model_unknown",
    "invalid_request",
    "internal_error",
    "overloaded",
    "state_unavailable",
    "deadline_exceeded",
)
_BODY_PROBLEMS = ("malformed_json", "body_too_large", "unsupported_media_type", *_QUERY_PROBLEMS)


@router.post(
    ADDRESS,
    summary="Recommend items of the target domain to one user",
    response_class=Response,
    responses={200: {"model": RecommendationAnswer}, **responses(*_BODY_PROBLEMS)},
    openapi_extra=request_body((JSON, reference("RecommendationRequest"))),
)
async def recommend(request: Request) -> Response:
    """Known source users are transferred; a `history`, or for others their events, is folded in.

    All others get the popular list. `strategy` says which it was, and `fallback_reason` why it is the
    popular list.
    """
    wanted = await read_json(request, RecommendationRequest, limit=runtime_of(request).settings.max_body_bytes)
    return await _answer(request, wanted.query(), model_id=wanted.model, timeout_ms=wanted.timeout_ms)


@router.get(
    "/v1/users/{user_id}/recommendations",
    summary="Recommend items of the target domain to one user",
    response_class=Response,
    responses={200: {"model": RecommendationAnswer}, **responses("bad_request", *_QUERY_PROBLEMS)},
)
async def recommend_by_address(
    request: Request,
    user_id: UserInAddress,
    parameters: Annotated[RecommendationParameters, Query()],
) -> Response:
    """The same as `POST /v1/recommendations`, for a user with an id."""
    query = parameters.query(user_id)
    return await _answer(request, query, model_id=parameters.model, timeout_ms=parameters.timeout_ms, within="/query")


async def _answer(
    request: Request,
    query: recommender.Query,
    *,
    model_id: str | None,
    timeout_ms: int | None,
    within: str = "",
) -> Response:
    runtime = runtime_of(request)
    clock = asyncio.get_running_loop().time
    timeout = (timeout_ms or runtime.settings.timeout_ms) / 1000
    began = clock()
    # The state gets half of the time, so that there is an answer left to give without it.
    certain = await runtime.guard.refresh(within=timeout / 2)
    lineup = runtime.registry.lineup
    model = lineup.choose(model_id, query.user_id)
    require_askable(model, query, runtime.items.now, within=within)
    asked = await informed(runtime, model, (query,), certain=certain, until=began + timeout / 2)
    timed = await runtime.batcher.recommend(
        model.recommender,
        asked,
        timeout=timeout - (clock() - began),
        gone=partial(_disconnected, request),
    )
    answer = timed.result[0]
    if not isinstance(answer, Recommendation):
        raise user_unknown(asked[0])
    if not from_console(request.scope):
        runtime.metrics.count_answer(answer.strategy, answer.fallback_reason)
    runtime.shadow.observe(lineup, model, query=asked[0], answer=answer)
    content = list_content(answer, model)
    content["recommendation_id"] = runtime.feedback.ids.issue(
        lineup, model, named=model_id is not None, user_id=asked[0].user_id if asked[0].personalise else None
    )
    content["request_id"] = request.scope["state"]["request_id"]
    return json_response(content, headers=timing_headers(request, timed))


async def _disconnected(request: Request) -> None:
    """Return once the client has left; its body has been read, so nothing else can arrive."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
