"""The popular list, which needs no user."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from diffcdr.recommend.paging import page
from diffcdr.recommend.query import Query as ListQuery
from service.bodies.responses import content_response, empty_reason, etag_response, item_list
from service.bundles.registry import MAX_K
from service.components import runtime_of
from service.edge.problems import responses
from service.routes.lists.filters import require_askable
from service.schemas import PopularAnswer
from service.schemas.filters import CapsText, FilterText, caps_in, filter_in

router = APIRouter(tags=["items"])


class PopularParameters(BaseModel):
    """Query parameters of the popular list."""

    model_config = ConfigDict(extra="forbid")

    k: Annotated[int, Field(ge=1, le=MAX_K, description="Length of the list.")] = 20
    offset: Annotated[int, Field(ge=0, lt=MAX_K, description="Skip this many from the beginning.")] = 0
    filter: FilterText = None
    caps: CapsText = None


@router.get(
    "/v1/items/popular",
    summary="The most rated items of the target domain",
    response_class=Response,
    responses={
        200: {"model": PopularAnswer},
        304: {"description": "Unchanged since the answer with this ETag."},
        **responses("bad_request", "unauthenticated", "forbidden", "invalid_request", "internal_error"),
    },
)
async def popular(request: Request, parameters: Annotated[PopularParameters, Query()]) -> Response:
    """The list that unknown users get: `k` items, or all if the catalogue is smaller."""
    runtime = runtime_of(request)
    lineup, changes = runtime.registry.lineup, runtime.items.now
    model = lineup.stable
    wanted = ListQuery(
        None,
        k=parameters.k,
        offset=parameters.offset,
        filter=filter_in(parameters.filter),
        caps=caps_in(parameters.caps),
    )
    require_askable(model, wanted, changes, within="/query")
    # The id stays the same for an hour. It is part of the ETag, so a cached answer never has an old id.
    recommendation_id = runtime.feedback.ids.issue_popular(lineup, model)
    plain = wanted.filter is None and not wanted.caps and changes.known and not changes.serial
    most = model.popular
    if not plain:
        most = await asyncio.to_thread(
            model.recommender.popular, MAX_K, filter=wanted.filter, caps=wanted.caps, changes=changes
        )
    shown = page(most, wanted)
    content = {
        "items": item_list(shown),
        **empty_reason(shown),
        "bundle": model.id,
        "recommendation_id": recommendation_id,
    }
    if not plain:
        return content_response(request, content)
    return etag_response(request, f"{model.id}-{parameters.k}-{parameters.offset}-{recommendation_id}", content)
