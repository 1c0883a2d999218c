"""Items like an item."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.bodies.responses import content_response
from service.components import runtime_of
from service.edge.problems import Problem, responses
from service.routes.lookup import LOOKUP_PROBLEMS, named
from service.routes.parameters import ItemInAddress
from service.schemas.similar import SimilarAnswer, SimilarParameters

router = APIRouter(tags=["items"])


@router.get(
    "/v1/items/{item_id}/similar",
    summary="Items like an item",
    response_class=Response,
    responses={
        200: {"model": SimilarAnswer},
        304: {"description": "Unchanged since the answer with this ETag."},
        **responses("bad_request", "item_unknown", "not_in_bundle", *LOOKUP_PROBLEMS),
    },
)
async def similar(
    request: Request, item_id: ItemInAddress, parameters: Annotated[SimilarParameters, Query()]
) -> Response:
    """Items of the same domain with the highest cosine similarity of their vectors: items that the same users like.

    The search is exact over all items, and the answer is fixed for a bundle. It is empty if the item's vector is zero,
    because nothing was learnt about the item.
    """
    model = runtime_of(request).registry.lineup.choose(parameters.model, None)
    bundle = model.bundle
    table = bundle.source_items if parameters.domain == "source" else bundle.target_items
    if not len(table.ids):
        raise Problem("not_in_bundle", f"this bundle has no items of the {parameters.domain}")
    row = table.ids.row(item_id)
    if row < 0:
        raise Problem(
            "item_unknown", f"the {parameters.domain} of this bundle has no such item; GET /v1/items finds ids"
        )
    rows, cosines = await asyncio.to_thread(lambda: model.similar(parameters.domain).nearest(row, parameters.k))
    found = zip(named(table, rows.tolist()), cosines.tolist(), strict=True)
    content = {
        "item": named(table, [row])[0],
        "items": [item | {"similarity": cosine, "rank": rank} for rank, (item, cosine) in enumerate(found, start=1)],
        "domain": parameters.domain,
        "bundle": model.id,
    }
    return content_response(request, content)
