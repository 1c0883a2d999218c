"""Items without a user."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from diffcdr.recommend.paging import page
from diffcdr.recommend.query import Query as ListQuery
from service.bodies.responses import etag_response, item_list
from service.bundles.registry import MAX_K
from service.components import runtime_of
from service.edge.problems import responses
from service.schemas import PopularAnswer

router = APIRouter(tags=["items"])


class PopularParameters(BaseModel):
    """What may stand in the query string."""

    model_config = ConfigDict(extra="forbid")

    k: Annotated[int, Field(ge=1, le=MAX_K, description="Length of the list.")] = 20
    offset: Annotated[int, Field(ge=0, lt=MAX_K, description="Skip this many from the beginning.")] = 0


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
    """The list that unknown users get: `k` items, or all if the catalogue is smaller."""
    runtime = runtime_of(request)
    lineup = runtime.registry.lineup
    model = lineup.stable
    shown = page(model.popular, ListQuery(None, k=parameters.k, offset=parameters.offset))
    # The same for an hour: the ETag names it too, so who keeps the answer keeps an id that is still young.
    recommendation_id = runtime.feedback.ids.issue_popular(lineup, model)
    content = {"items": item_list(shown), "bundle": model.id, "recommendation_id": recommendation_id}
    return etag_response(request, f"{model.id}-{parameters.k}-{parameters.offset}-{recommendation_id}", content)
