"""What is loaded, and how good it is."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from diffcdr.ids import MAX_ID_BYTES
from service.answers import etag_response
from service.bulk import model_unknown
from service.problems import responses
from service.registry import Model
from service.runtime import runtime_of
from service.schemas import ModelsAnswer, ModelSummary

router = APIRouter(tags=["models"])

_UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "Unchanged since the answer with this ETag."}}


@router.get(
    "/v1/models",
    summary="Every loaded bundle",
    response_class=Response,
    responses={200: {"model": ModelsAnswer}, **_UNCHANGED, **responses("internal_error")},
)
async def models(request: Request) -> Response:
    """The loaded bundles with their metrics, beside those of the plain baselines on the same held-out users."""
    loaded = runtime_of(request).registry.all()
    content = {"models": [_summary(model).model_dump(mode="json") for model in loaded]}
    return etag_response(request, "-".join(_version(model) for model in loaded), content)


@router.get(
    "/v1/models/{model_id}",
    summary="One loaded bundle",
    response_class=Response,
    responses={
        200: {"model": ModelSummary},
        **_UNCHANGED,
        **responses("model_unknown", "invalid_request", "internal_error"),
    },
)
async def model(request: Request, model_id: Annotated[str, Path(max_length=MAX_ID_BYTES)]) -> Response:
    """One bundle by its id."""
    found = runtime_of(request).registry.find(model_id)
    if found is None:
        raise model_unknown(model_id)
    return etag_response(request, _version(found), _summary(found).model_dump(mode="json"))


def _version(found: Model) -> str:
    return f"{found.id}.{found.state}.{found.loaded_at.timestamp():.0f}"


def _summary(found: Model) -> ModelSummary:
    manifest = found.manifest
    return ModelSummary(
        id=found.id,
        state=found.state,
        model=manifest.model,
        preset=manifest.preset,
        device=found.device,
        created_at=manifest.created_at,
        loaded_at=found.loaded_at,
        counts=manifest.counts.model_dump(),
        metrics=manifest.metrics,
    )
