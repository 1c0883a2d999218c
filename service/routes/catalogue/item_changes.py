"""Routes for one item: its attributes, and changes of its availability and tags while the service runs."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request, Response

from diffcdr.bundle.attributes import AVAILABLE, TAGS
from diffcdr.filtering.changes import ItemChange
from service.bodies.openapi import reference, request_body
from service.bodies.requests import JSON, read_json
from service.bodies.responses import json_response
from service.components import runtime_of
from service.edge.problems import BODY_PROBLEMS, Problem, responses
from service.routes.catalogue.lookup import LOOKUP_PROBLEMS, named
from service.routes.parameters import ItemInAddress
from service.schemas.console import ModelParameters
from service.schemas.items import ItemAnswer, ItemChangeRequest, ItemChangesAnswer, ItemChangesRequest
from service.state.items.store import ItemWish

router = APIRouter(tags=["items"])

SHOWN_UNKNOWN = 100
"""Most ids that an answer names which the active bundle does not have."""

_PROBLEMS = responses(
    *BODY_PROBLEMS,
    "internal_error",
    "overloaded",
    "state_unavailable",
)
_DONE = "Durable. Applied here at once, and in every other worker and replica within a second."


@router.get(
    "/v1/items/{item_id}",
    summary="An item with its attributes",
    response_class=Response,
    responses={
        200: {"model": ItemAnswer},
        **responses("bad_request", "item_unknown", "state_unavailable", *LOOKUP_PROBLEMS),
    },
)
async def item(request: Request, item_id: ItemInAddress, parameters: Annotated[ModelParameters, Query()]) -> Response:
    """An item of the target domain: its title, its attributes, and whether it is available now."""
    runtime = runtime_of(request)
    model = runtime.registry.lineup.choose(parameters.model, None)
    items, changes = model.bundle.target_items, runtime.items.now
    row = items.ids.row(item_id)
    if row < 0:
        raise Problem("item_unknown", "the target domain of this bundle has no such item; GET /v1/items finds ids")
    if not changes.known:
        raise Problem("state_unavailable", "changes of items cannot be read now", headers={"Retry-After": "1"})
    attributes: dict[str, Any] = items.attributes.of(row)
    available = attributes.pop(AVAILABLE, True)
    change = changes.entries.get(item_id, ItemChange())
    if change.tags is not None:
        attributes[TAGS] = list(change.tags)
    content = {
        **named(items, [row])[0],
        "attributes": attributes,
        "available": available if change.available is None else change.available,
        "bundle": model.id,
    }
    return json_response(content)


@router.put(
    "/v1/items/{item_id}",
    summary="Change whether an item is available, or its tags",
    status_code=204,
    response_class=Response,
    responses={204: {"description": _DONE}, **_PROBLEMS},
    openapi_extra=request_body((JSON, reference("ItemChangeRequest"))),
)
async def change(request: Request, item_id: ItemInAddress) -> Response:
    """An item that is not available appears in no list. It need not be in the bundle; a later one may have it."""
    runtime = runtime_of(request)
    wanted = await read_json(request, ItemChangeRequest, limit=runtime.settings.max_body_bytes)
    await runtime.store.items.change({item_id: wanted.wish()})
    await runtime.items.refresh()
    return Response(status_code=204)


@router.put(
    "/v1/items",
    summary="Change many items at once",
    response_class=Response,
    responses={200: {"model": ItemChangesAnswer, "description": _DONE}, **_PROBLEMS},
    openapi_extra=request_body((JSON, reference("ItemChangesRequest"))),
)
async def change_many(request: Request) -> Response:
    """Up to 10,000 items; either all changes apply or none. Changes of an item named twice apply in order."""
    runtime = runtime_of(request)
    wanted = await read_json(request, ItemChangesRequest, limit=runtime.settings.max_bulk_body_bytes)
    # On a thread: 10,000 items take some 50 ms.
    wishes = await asyncio.to_thread(_wishes, wanted)
    await runtime.store.items.change(wishes)
    await runtime.items.refresh()
    ids = list(wishes)
    rows = runtime.registry.lineup.stable.bundle.target_items.ids.rows(ids)
    content = {
        "changed": len(ids),
        "unknown": [ids[place] for place in np.flatnonzero(rows < 0)[:SHOWN_UNKNOWN].tolist()],
        "request_id": request.scope["state"]["request_id"],
    }
    return json_response(content)


def _wishes(wanted: ItemChangesRequest) -> dict[str, ItemWish]:
    wishes: dict[str, ItemWish] = {}
    for each in wanted.items:
        known = wishes.get(each.item_id)
        wishes[each.item_id] = each.wish() if known is None else known.then(each.wish())
    return wishes
