"""Items without a user."""

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
from service.routes.filters import require_askable
from service.schemas import PopularAnswer
from service.schemas.filters import FilterText, filter_in

router = APIRouter(tags=["items"])


class PopularParameters(BaseModel):
    """What may stand in the query string."""

    model_config = ConfigDict(extra="forbid")

    k: Annotated[int, Field(ge=1, le=MAX_K, description="Length of the list.")] = 20
    offset: Annotated[int, Field(ge=0, lt=MAX_K, description="Leave out so many from the beginning.")] = 0
    filter: FilterText = None


@router.get(
    "/v1/items/popular",
    summary="The most rated items of the target domain",
    response_class=Response,
    responses={
        200: {"model": PopularAnswer},
        304: {"description": "Unchanged since the answer with this ETag."},
        **responses("unauthenticated", "forbidden", "invalid_request", "internal_error"),
    },
)
async def popular(request: Request, parameters: Annotated[PopularParameters, Query()]) -> Response:
    """The list that unknown users get: `k` items, or all there are if the catalogue is smaller."""
    runtime = runtime_of(request)
    model, changes = runtime.registry.lineup.stable, runtime.items.now
    wanted = ListQuery(None, k=parameters.k, offset=parameters.offset, filter=filter_in(parameters.filter))
    require_askable(model, wanted, place="/query/filter")
    if wanted.filter is None and changes.known and not changes.serial:
        shown = page(model.popular, wanted)
        content = {"items": item_list(shown), **empty_reason(shown), "bundle": model.id}
        return etag_response(request, f"{model.id}-{parameters.k}-{parameters.offset}", content)
    most = await asyncio.to_thread(model.recommender.popular, MAX_K, filter=wanted.filter, changes=changes)
    shown = page(most, wanted)
    return content_response(request, {"items": item_list(shown), **empty_reason(shown), "bundle": model.id})
