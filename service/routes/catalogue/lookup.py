"""Look-ups in a bundle: ids, titles, histories, and the map of its users."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request, Response

from diffcdr.bundle.ids import IdTable
from diffcdr.bundle.reader import Bundle, SourceItems, TargetItems
from diffcdr.bundle.titles import TitleTable
from service.bodies.responses import json_response, state_away
from service.bundles.registry import Model
from service.components import Runtime, runtime_of
from service.edge.problems import Problem, responses
from service.routes.parameters import UserInAddress
from service.schemas.console import (
    HistoryAnswer,
    HistoryParameters,
    ItemsAnswer,
    ItemsParameters,
    UsersAnswer,
    UsersParameters,
)
from service.state.suppression import Guard

router = APIRouter(tags=["lookup"])

LOOKUP_PROBLEMS = ("unauthenticated", "forbidden", "model_unknown", "invalid_request", "internal_error")
USER_PROBLEMS = ("bad_request", "user_unknown", "not_in_bundle", "state_unavailable", *LOOKUP_PROBLEMS)


@router.get(
    "/v1/users",
    summary="Ids of known users",
    response_class=Response,
    responses={200: {"model": UsersAnswer}, **responses("state_unavailable", *LOOKUP_PROBLEMS)},
)
async def users(request: Request, parameters: Annotated[UsersParameters, Query()]) -> Response:
    """Users of either domain by the beginning of their id, without those who opted out or were erased."""
    runtime, model = await asked(request, parameters.model)
    found = await asyncio.to_thread(find_users, model.bundle, runtime.guard, parameters.prefix, parameters.limit)
    return json_response({"users": found, "bundle": model.id})


@router.get(
    "/v1/items",
    summary="Items of either domain",
    response_class=Response,
    responses={200: {"model": ItemsAnswer}, **responses(*LOOKUP_PROBLEMS)},
)
async def items(request: Request, parameters: Annotated[ItemsParameters, Query()]) -> Response:
    """Items by the beginning of their id, then by part of their title."""
    model = runtime_of(request).registry.lineup.choose(parameters.model, None)
    bundle = model.bundle
    table = bundle.source_items if parameters.domain == "source" else bundle.target_items
    rows = await asyncio.to_thread(find_items, table.ids, table.titles, parameters.q, parameters.limit)
    return json_response({"items": named(table, rows), "bundle": model.id})


@router.get(
    "/v1/users/{user_id}/history",
    summary="What a user rated in the source domain",
    response_class=Response,
    responses={200: {"model": HistoryAnswer}, **responses(*USER_PROBLEMS)},
)
async def history(
    request: Request, user_id: UserInAddress, parameters: Annotated[HistoryParameters, Query()]
) -> Response:
    """The ratings that the model was trained on; for other users, the ratings they sent since.

    Users who opted out or were erased are unknown.
    """
    runtime, model = await asked(request, parameters.model)
    require_allowed(runtime, user_id)
    row = model.bundle.source_users.ids.row(user_id)
    rated = _trained(model.bundle, row) if row >= 0 else await _sent(runtime, model.bundle, user_id)
    content = {
        "user_id": user_id,
        "items": rated[: parameters.limit],
        "total": len(rated),
        "origin": "training" if row >= 0 else "events",
        "bundle": model.id,
    }
    return json_response(content)


async def asked(request: Request, model_id: str | None) -> tuple[Runtime, Model]:
    """The runtime with its opt-outs refreshed, and the model of the request.

    Raises:
        Problem: 503 where nobody can tell who opted out.
        ModelUnknown: no such model is loaded.
    """
    runtime = runtime_of(request)
    if not await runtime.guard.refresh():
        raise state_away()
    return runtime, runtime.registry.lineup.choose(model_id, None)


def require_allowed(runtime: Runtime, user_id: str) -> None:
    """Raise Problem 404 if the user must not be shown."""
    if not runtime.guard.allows(user_id):
        raise user_hidden()


def user_hidden() -> Problem:
    """The same 404 for unknown and for protected users, so that it does not reveal who opted out."""
    return Problem("user_unknown", "no data of this user is shown: unknown to the bundle, opted out or erased")


def named(table: SourceItems | TargetItems, rows: Sequence[int]) -> list[dict[str, Any]]:
    """Ids, and titles where known, of item ``rows``."""
    places = np.array(rows, dtype=np.int64)
    titles = table.titles.take(places) if table.titles is not None else [None] * len(rows)
    return [
        {"item_id": item} | ({"title": title} if title else {})
        for item, title in zip(table.ids.take(places), titles, strict=True)
    ]


def _trained(bundle: Bundle, row: int) -> list[dict[str, Any]]:
    """What the user at ``row`` rated before the training, best first."""
    history = bundle.console.history
    if history is None:
        raise Problem("not_in_bundle", "this bundle has no histories; train it without --no-histories")
    items, ratings = history.of(row)
    found = named(bundle.source_items, items.tolist())
    return [item | {"rating": rating} for item, rating in zip(found, ratings.tolist(), strict=True)]


async def _sent(runtime: Runtime, bundle: Bundle, user_id: str) -> list[dict[str, Any]]:
    """What the user rated since, best first. Raises Problem 404 where there is nothing, StateUnavailable."""
    worth = runtime.feedback.types.worth(bundle.manifest, "source")
    found = (await runtime.store.histories([user_id], "source", worth=worth)).get(user_id, ())
    if not found:
        raise user_hidden()
    rows = bundle.source_items.ids.rows([item for item, _ in found]).tolist()
    titled = [named(bundle.source_items, [row])[0] if row >= 0 else {} for row in rows]
    rated = [known | {"item_id": item, "rating": rating} for known, (item, rating) in zip(titled, found, strict=True)]
    return sorted(rated, key=lambda entry: -entry["rating"])


CHUNK = 256
MAX_SEEN = 100_000
"""Ids looked at for one answer, where nearly all that begin so are suppressed."""


def find_users(bundle: Bundle, guard: Guard, prefix: str, limit: int) -> list[str]:
    """The first ``limit`` ids of ``bundle`` that begin with ``prefix`` and may be shown, in byte order."""
    tables = [bundle.source_users.ids, bundle.target_users.ids]
    size = CHUNK
    while True:
        listed = [_encoded(table, table.starting_with(prefix, size)) for table in tables]
        # Past the end of a list that was cut short, an id of the other list may come too early.
        ends = [ids[-1] for ids in listed if len(ids) == size]
        whole = sorted(text for text in set().union(*listed) if not ends or text <= min(ends))
        found = [text for text in map(bytes.decode, whole) if guard.allows(text)][:limit]
        if len(found) == limit or not ends or size >= MAX_SEEN:
            return found
        size *= 8


def _encoded(table: IdTable, rows: range) -> list[bytes]:
    ids: list[bytes] = table.array[rows.start : rows.stop].tolist()
    return ids


def find_items(ids: IdTable, titles: TitleTable | None, wanted: str, limit: int) -> list[int]:
    """Rows of up to ``limit`` items: ids that begin with ``wanted``, then titles that contain it in any case."""
    rows = list(ids.starting_with(wanted, limit))
    if titles is not None and wanted and len(rows) < limit:
        known = set(rows)
        rows += [row for row in titles.search(wanted, limit + len(rows)) if row not in known]
    return rows[:limit]
