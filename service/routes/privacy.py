"""Opting out, and being forgotten."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request, Response

from service.bodies.idempotency import IdempotencyKey, once
from service.bodies.requests import JSON
from service.components import runtime_of
from service.edge.problems import responses
from service.routes.parameters import UserInAddress
from service.schemas import ErasureReceipt

router = APIRouter(tags=["privacy"])

_PROBLEMS = responses("unauthenticated", "forbidden", "invalid_request", "internal_error", "state_unavailable")
_DONE = "Durable: it holds for every request that begins from now on, on every replica."


@router.put(
    "/v1/users/{user_id}/opt-out",
    summary="Stop personalising for a user",
    status_code=204,
    response_class=Response,
    responses={204: {"description": _DONE}, **_PROBLEMS},
)
async def opt_out(request: Request, user_id: UserInAddress) -> Response:
    """From now on the user only gets the popular list, on every path. Repeating the call changes nothing."""
    runtime = runtime_of(request)
    await runtime.store.set_opt_out(user_id, True)
    # So that it holds here even if the state goes away before anybody asks.
    await runtime.guard.refresh()
    return Response(status_code=204)


@router.delete(
    "/v1/users/{user_id}/opt-out",
    summary="Personalise for a user again",
    status_code=204,
    response_class=Response,
    responses={204: {"description": _DONE}, **_PROBLEMS},
)
async def opt_in(request: Request, user_id: UserInAddress) -> Response:
    """Revokes an opt-out; an erasure stays."""
    await runtime_of(request).store.set_opt_out(user_id, False)
    return Response(status_code=204)


@router.delete(
    "/v1/users/{user_id}",
    summary="Forget a user",
    status_code=202,
    response_class=Response,
    responses={202: {"model": ErasureReceipt, "description": _DONE}, **_PROBLEMS},
)
async def erase(request: Request, user_id: UserInAddress, idempotency_key: IdempotencyKey = None) -> Response:
    """The user's vectors are no longer used, and the next training can leave the user out."""
    return await once(request, idempotency_key, user_id, partial(_erase, request, user_id))


async def _erase(request: Request, user_id: str) -> Response:
    runtime = runtime_of(request)
    erasure = await runtime.store.erase(user_id)
    await runtime.guard.refresh()
    receipt = ErasureReceipt(receipt=erasure.receipt, erased_at=erasure.at)
    return Response(receipt.model_dump_json(), status_code=202, media_type=JSON)
