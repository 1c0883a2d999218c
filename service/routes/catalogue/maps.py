"""The map of a bundle's users and items, and where on it a user stands."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from diffcdr.recommend.user_place import locate
from service.bodies.responses import content_response, json_response
from service.edge.problems import Problem, responses
from service.routes.catalogue.lookup import LOOKUP_PROBLEMS, USER_PROBLEMS, asked, named, require_allowed, user_hidden
from service.routes.parameters import UserInAddress
from service.schemas.console import MapAnswer, ModelParameters, PlaceAnswer

router = APIRouter(tags=["lookup"])

NO_MAP = "this bundle has no map; train it again with this version"


@router.get(
    "/v1/map",
    summary="Users and items in two dimensions",
    response_class=Response,
    responses={
        200: {"model": MapAnswer},
        304: {"description": "Unchanged since the answer with this ETag."},
        **responses("not_in_bundle", "state_unavailable", *LOOKUP_PROBLEMS),
    },
)
async def user_map(request: Request, parameters: Annotated[ModelParameters, Query()]) -> Response:
    """A sample of users known in both domains: positions of their source, transferred and own target vectors.

    Users who opted out or were erased are left out.
    """
    runtime, model = await asked(request, parameters.model)
    bundle = model.bundle
    drawn = bundle.console.map
    if drawn is None:
        raise Problem("not_in_bundle", NO_MAP)
    users = bundle.source_users.ids.take(drawn.users)
    clouds = {"source": drawn.source, "transferred": drawn.transferred, "target": drawn.target}
    shown = [
        {"user_id": user}
        | {kind: points[row].tolist() for kind, points in clouds.items()}
        | {"others": {model: points[row].tolist() for model, points in drawn.others.items()}}
        for row, user in enumerate(users)
        if runtime.guard.allows(user)
    ]
    listed = named(bundle.target_items, drawn.items.tolist())
    points = [item | {"point": point} for item, point in zip(listed, drawn.item_points.tolist(), strict=True)]
    content = {"users": shown, "items": points, "bundle": model.id}
    return content_response(request, content)


@router.get(
    "/v1/users/{user_id}/map",
    summary="A user's position on the map",
    response_class=Response,
    responses={200: {"model": PlaceAnswer}, **responses(*USER_PROBLEMS)},
)
async def place(request: Request, user_id: UserInAddress, parameters: Annotated[ModelParameters, Query()]) -> Response:
    """A user's positions, and the nearest items of the map. Users who opted out or were erased are unknown."""
    runtime, model = await asked(request, parameters.model)
    require_allowed(runtime, user_id)
    drawn = model.bundle.console.map
    if drawn is None:
        raise Problem("not_in_bundle", NO_MAP)
    found = await asyncio.to_thread(locate, model.recommender, drawn, user_id)
    if found is None:
        raise user_hidden()
    content = {
        "user_id": user_id,
        "on_map": found.on_map,
        "source": found.source,
        "transferred": found.transferred,
        "target": found.target,
        "near": named(model.bundle.target_items, found.items),
        "bundle": model.id,
    }
    return json_response(content)
