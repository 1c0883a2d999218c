"""Lists of items that are uploaded once and named in filters."""

from __future__ import annotations

import asyncio
from typing import Annotated

import orjson
from fastapi import APIRouter, Path, Request, Response

from diffcdr.filtering.item_filter import LIST_NAME
from service.bodies.openapi import reference, request_body
from service.bodies.requests import JSON, read_json
from service.bodies.responses import json_response
from service.components import Runtime, runtime_of
from service.edge.problems import BODY_PROBLEMS, Problem, responses
from service.schemas.examples import LIST
from service.schemas.items import ItemListAnswer, ItemListRequest, ItemListsAnswer

router = APIRouter(tags=["items"])

MAX_LISTS = 100
"""Most lists at a time: each process holds all of them."""

ListInAddress = Annotated[str, Path(pattern=LIST_NAME, max_length=64, examples=[LIST])]
_READING = responses("unauthenticated", "forbidden", "invalid_request", "internal_error", "state_unavailable")
_WRITING = responses("invalid_request", "internal_error", "overloaded", "state_unavailable")
_DONE = "Durable. Applied here at once, and in every other worker and replica within a second."


@router.put(
    "/v1/lists/{name}",
    summary="Upload a list of items for filters",
    status_code=204,
    response_class=Response,
    responses={
        204: {"description": _DONE},
        **responses(*BODY_PROBLEMS, "conflict", "internal_error", "overloaded", "state_unavailable"),
    },
    openapi_extra=request_body((JSON, reference("ItemListRequest"))),
)
async def upload(request: Request, name: ListInAddress) -> Response:
    """Replaces a list of the same name. `{"filter": {"list": name}}` then allows only its items, in any bundle."""
    runtime = runtime_of(request)
    wanted = await read_json(request, ItemListRequest, limit=runtime.settings.max_bulk_body_bytes)
    changes = runtime.items.now
    if name not in changes.lists and len(changes.lists) >= MAX_LISTS:
        raise Problem("conflict", f"there are {MAX_LISTS} lists already; delete one with DELETE /v1/lists/NAME first")
    text = await asyncio.to_thread(_packed, wanted.items)
    await runtime.store.items.put_list(name, text)
    await runtime.items.refresh()
    return Response(status_code=204)


@router.get(
    "/v1/lists/{name}",
    summary="An uploaded list of items",
    response_class=Response,
    responses={200: {"model": ItemListAnswer}, **responses("not_found"), **_READING},
)
async def uploaded(request: Request, name: ListInAddress) -> Response:
    """Its items, as they were sent, without repetitions."""
    runtime = _readable(request)
    found = runtime.items.now.lists.get(name)
    if found is None:
        raise Problem("not_found", f"there is no list {name!r}; PUT /v1/lists/{name} uploads it")
    items = await asyncio.to_thread(found.items)
    return json_response({"name": name, "count": len(items), "items": items})


@router.get(
    "/v1/lists",
    summary="The names of all uploaded lists",
    response_class=Response,
    responses={200: {"model": ItemListsAnswer}, **_READING},
)
async def all_lists(request: Request) -> Response:
    """In alphabetical order."""
    return json_response({"lists": sorted(_readable(request).items.now.lists)})


@router.delete(
    "/v1/lists/{name}",
    summary="Delete an uploaded list of items",
    status_code=204,
    response_class=Response,
    responses={204: {"description": _DONE}, **_WRITING},
)
async def delete(request: Request, name: ListInAddress) -> Response:
    """From then on, filters that name it are refused. Repeating the call changes nothing."""
    runtime = runtime_of(request)
    await runtime.store.items.delete_list(name)
    await runtime.items.refresh()
    return Response(status_code=204)


def _packed(items: tuple[str, ...]) -> str:
    return orjson.dumps(list(dict.fromkeys(items))).decode()


def _readable(request: Request) -> Runtime:
    runtime = runtime_of(request)
    if not runtime.items.now.known:
        raise Problem("state_unavailable", "lists cannot be read now", headers={"Retry-After": "1"})
    return runtime
