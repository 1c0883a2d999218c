"""Items like an item."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query, Request, Response

from diffcdr.arrays import BoolArray, Float64Array
from diffcdr.bundle.reader import SourceItems, TargetItems
from diffcdr.recommend.query import EmptyReason
from diffcdr.recommend.query import Query as ListQuery
from service.bodies.responses import content_response
from service.bundles.registry import Model
from service.components import runtime_of
from service.edge.problems import FieldError, Problem, responses
from service.routes.catalogue.lookup import LOOKUP_PROBLEMS, named
from service.routes.lists.filters import require_askable
from service.routes.parameters import ItemInAddress
from service.schemas.filters import filter_in
from service.schemas.similar import SimilarAnswer, SimilarParameters

Domain = Literal["source", "target"]

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
    """The items with the highest cosine similarity of their vectors: items that the same users like.

    Across domains (`to` differs from `domain`), a source item has the vector by which a history of it alone moves the
    list of a user without ratings: `?domain=source&to=target` gives the target items that go with a source item, and
    `?to=source` the source items that go with a target item.

    The search is exact over all items, and the answer is fixed for a bundle. It is empty if the item's vector is zero,
    because nothing was learnt about the item.
    """
    runtime = runtime_of(request)
    model, changes = runtime.registry.lineup.choose(parameters.model, None), runtime.items.now
    domain, to = parameters.domain, parameters.to or parameters.domain
    table, others = _items(model, domain), _items(model, to)
    row = table.ids.row(item_id)
    if row < 0:
        raise Problem("item_unknown", f"the {domain} of this bundle has no such item; GET /v1/items finds ids")
    wanted = ListQuery(None, filter=filter_in(parameters.filter))
    if wanted.filter is not None and to == "source":
        detail = "source items have no attributes to filter by; leave filter out, or ask for items of the target"
        raise Problem("invalid_request", detail, errors=[FieldError(pointer="/query/filter", detail=detail)])
    require_askable(model, wanted, changes, within="/query")

    def find() -> tuple[npt.NDArray[np.int64], Float64Array, EmptyReason | None]:
        allowed = model.recommender.catalogue.allowed(wanted.filter, changes) if to == "target" else None
        among = None if allowed is None else allowed.mask
        nearest = _nearest(model, row, parameters.k, domain=domain, to=to, among=among)
        if allowed is None or not allowed.nothing:
            return (*nearest, None)
        return (*nearest, "availability_unknown" if allowed.unknown else "no_item_allowed")

    rows, cosines, reason = await asyncio.to_thread(find)
    found = zip(named(others, rows.tolist()), cosines.tolist(), strict=True)
    content = {
        "item": named(table, [row])[0],
        "items": [item | {"similarity": cosine, "rank": rank} for rank, (item, cosine) in enumerate(found, start=1)],
        **({} if reason is None else {"empty_reason": reason}),
        "domain": domain,
        "to": to,
        "bundle": model.id,
    }
    return content_response(request, content)


def _items(model: Model, domain: Domain) -> SourceItems | TargetItems:
    table = model.bundle.source_items if domain == "source" else model.bundle.target_items
    if not len(table.ids):
        raise Problem("not_in_bundle", f"this bundle has no items of the {domain}")
    return table


def _nearest(
    model: Model, row: int, k: int, *, domain: Domain, to: Domain, among: BoolArray | None
) -> tuple[npt.NDArray[np.int64], Float64Array]:
    """Rows and cosines of the items of ``to`` most similar to the item of ``domain`` at ``row``."""
    if domain == to:
        return model.similar(domain).nearest(row, k, among=among)
    if domain == "source":
        vectors = model.recommender.source_item_vectors(np.array([row]))
        if vectors is not None:
            return model.similar("target").nearest_to(vectors[0], k, among=among)
    elif (sources := model.source_items_among_targets()) is not None:
        return sources.nearest_to(model.bundle.target_items.vectors[row], k)
    raise Problem(
        "not_in_bundle", "this bundle has no rule that leads from single source items to the target; leave out `to`"
    )
