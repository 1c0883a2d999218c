"""Items like an item."""

from __future__ import annotations

import asyncio
from typing import Annotated

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query, Request, Response

from diffcdr.arrays import Float64Array
from diffcdr.recommend.query import EmptyReason
from diffcdr.recommend.query import Query as ListQuery
from service.bodies.responses import content_response
from service.components import runtime_of
from service.edge.problems import FieldError, Problem, responses
from service.routes.catalogue.lookup import LOOKUP_PROBLEMS, named
from service.routes.lists.filters import require_askable
from service.routes.parameters import ItemInAddress
from service.schemas.filters import filter_in
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
    runtime = runtime_of(request)
    model, changes = runtime.registry.lineup.choose(parameters.model, None), runtime.items.now
    bundle = model.bundle
    table = bundle.source_items if parameters.domain == "source" else bundle.target_items
    if not len(table.ids):
        raise Problem("not_in_bundle", f"this bundle has no items of the {parameters.domain}")
    row = table.ids.row(item_id)
    if row < 0:
        raise Problem(
            "item_unknown", f"the {parameters.domain} of this bundle has no such item; GET /v1/items finds ids"
        )
    wanted = ListQuery(None, filter=filter_in(parameters.filter))
    if wanted.filter is not None and parameters.domain == "source":
        detail = (
            "items of the source domain have no attributes to filter by; leave filter out, or ask for domain=target"
        )
        raise Problem("invalid_request", detail, errors=[FieldError(pointer="/query/filter", detail=detail)])
    require_askable(model, wanted, changes, within="/query")

    def find() -> tuple[npt.NDArray[np.int64], Float64Array, EmptyReason | None]:
        allowed = None
        if parameters.domain == "target":
            allowed = model.recommender.catalogue.allowed(wanted.filter, changes)
        among = None if allowed is None else allowed.mask
        nearest = model.similar(parameters.domain).nearest(row, parameters.k, among=among)
        if allowed is None or not allowed.nothing:
            return (*nearest, None)
        return (*nearest, "availability_unknown" if allowed.unknown else "no_item_allowed")

    rows, cosines, reason = await asyncio.to_thread(find)
    found = zip(named(table, rows.tolist()), cosines.tolist(), strict=True)
    content = {
        "item": named(table, [row])[0],
        "items": [item | {"similarity": cosine, "rank": rank} for rank, (item, cosine) in enumerate(found, start=1)],
        **({} if reason is None else {"empty_reason": reason}),
        "domain": parameters.domain,
        "bundle": model.id,
    }
    return content_response(request, content)
