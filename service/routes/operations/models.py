"""The loaded models: their quality, which is active, and the traffic split."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import fastapi
from fastapi import APIRouter, Request, Response

from diffcdr.bundle.ids import MAX_ID_BYTES
from diffcdr.bundle.manifest import InputFile
from diffcdr.commands.inspect import shortfalls
from service.bodies.openapi import reference, request_body
from service.bodies.requests import JSON, read_json
from service.bodies.responses import content_response, json_response
from service.bundles.registry import Lineup, Model, Registry
from service.bundles.traffic_split import Traffic
from service.components import Runtime, runtime_of
from service.edge.problems import responses
from service.schemas import (
    ActivateRequest,
    DataSummary,
    FileSummary,
    Likes,
    LoadRequest,
    ModelsAnswer,
    ModelSummary,
    NeighboursSummary,
    PairedDifference,
    Refusal,
    ShadowShare,
    TrafficSplit,
)
from service.schemas.examples import MODEL_ID

router = APIRouter(tags=["models"])
admin = APIRouter(prefix="/v1/admin", tags=["administration"])

_UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "Unchanged since the answer with this ETag."}}
_READ = ("unauthenticated", "forbidden", "internal_error")
_CHANGE = ("malformed_json", "body_too_large", "unsupported_media_type", "invalid_request", *_READ)


@router.get(
    "/v1/models",
    summary="Every loaded bundle",
    response_class=Response,
    responses={200: {"model": ModelsAnswer}, **_UNCHANGED, **responses(*_READ)},
)
async def models(request: Request) -> Response:
    """The loaded bundles with their metrics, and those of the baselines on the same held-out users.

    `refused` lists the bundles that were refused, and why.
    """
    content = _answer(runtime_of(request))
    return content_response(request, content)


@router.get(
    "/v1/models/{model_id}",
    summary="One loaded bundle",
    response_class=Response,
    responses={
        200: {"model": ModelSummary},
        **_UNCHANGED,
        **responses("model_unknown", "invalid_request", *_READ),
    },
)
async def model(
    request: Request, model_id: Annotated[str, fastapi.Path(max_length=MAX_ID_BYTES, examples=[MODEL_ID])]
) -> Response:
    """One bundle by its id."""
    lineup = runtime_of(request).registry.lineup
    content = _summary(lineup.find(model_id), lineup).model_dump(mode="json")
    return content_response(request, content)


@admin.post(
    "/models/load",
    summary="Load another bundle",
    response_class=Response,
    responses={200: {"model": ModelSummary}, **responses("conflict", "bundle_refused", *_CHANGE)},
    openapi_extra=request_body((JSON, reference("LoadRequest"))),
)
async def load(request: Request) -> Response:
    """Verifies every hash, loads the bundle and warms it up, while the service continues; answers when it is ready.

    A bundle that cannot be served changes nothing; /v1/models says why.
    """
    runtime = runtime_of(request)
    wanted = await read_json(request, LoadRequest, limit=runtime.settings.max_body_bytes)
    loaded = await runtime.loader.load(Path(wanted.path))
    if wanted.activate:
        await runtime.loader.change(lambda registry: registry.activate(loaded.id))
    return _changed(runtime, loaded)


@admin.post(
    "/models/activate",
    summary="Activate a loaded model",
    response_class=Response,
    responses={200: {"model": ModelSummary}, **responses("model_unknown", *_CHANGE)},
    openapi_extra=request_body((JSON, reference("ActivateRequest"))),
)
async def activate(request: Request) -> Response:
    """Takes effect with the next request. Requests in flight finish with their model; the old one stays loaded."""
    runtime = runtime_of(request)
    wanted = await read_json(request, ActivateRequest, limit=runtime.settings.max_body_bytes)
    return _changed(runtime, await runtime.loader.change(lambda registry: registry.activate(wanted.model)))


@admin.post(
    "/models/rollback",
    summary="Go back to the model that was active before",
    response_class=Response,
    responses={200: {"model": ModelSummary}, **responses("conflict", *_READ)},
)
async def rollback(request: Request) -> Response:
    """The two models swap roles, so a second call undoes the first."""
    runtime = runtime_of(request)
    return _changed(runtime, await runtime.loader.change(Registry.roll_back))


@admin.put(
    "/traffic",
    summary="Split traffic between bundles",
    response_class=Response,
    responses={200: {"model": ModelsAnswer}, **responses("model_unknown", *_CHANGE)},
    openapi_extra=request_body((JSON, reference("TrafficSplit"))),
)
async def set_traffic(request: Request) -> Response:
    """A salted hash of the user id decides, the same on every replica. Nothing is stored about users.

    A shadow gets the requests of the active model again, after the answer and only while the engine is idle;
    `diffcdr_shadow_overlap` shows how far its lists agree.
    """
    runtime = runtime_of(request)
    wanted = await read_json(request, TrafficSplit, limit=runtime.settings.max_body_bytes)
    traffic = Traffic(canary=wanted.canary, percent=wanted.percent, salt=wanted.salt)
    if wanted.shadow is not None:
        traffic = replace(traffic, shadow=wanted.shadow.model, shadow_percent=wanted.shadow.percent)
    await runtime.loader.change(lambda registry: registry.split(traffic))
    return json_response(_answer(runtime))


def _changed(runtime: Runtime, found: Model) -> Response:
    return json_response(_summary(found, runtime.registry.lineup).model_dump(mode="json"))


def _answer(runtime: Runtime) -> dict[str, Any]:
    lineup = runtime.registry.lineup
    answer = ModelsAnswer(
        models=[_summary(model, lineup) for model in lineup.all()],
        traffic=_split(lineup.traffic),
        refused=[Refusal(**asdict(failure)) for failure in runtime.registry.failures],
    )
    return answer.model_dump(mode="json")


def _split(traffic: Traffic) -> TrafficSplit:
    shadow = None
    if traffic.shadow is not None:
        shadow = ShadowShare(model=traffic.shadow, percent=traffic.shadow_percent)
    return TrafficSplit(canary=traffic.canary, percent=traffic.percent, salt=traffic.salt, shadow=shadow)


def _summary(found: Model, lineup: Lineup) -> ModelSummary:
    manifest, placement = found.manifest, found.recommender.placement
    neighbours = manifest.neighbours
    return ModelSummary(
        id=found.id,
        name=found.bundle.path.absolute().name,
        state=lineup.state(found),
        model=manifest.model,
        preset=manifest.preset,
        device=placement.device,
        provider=placement.provider,
        provider_version=placement.version,
        search_device=found.recommender.search_device,
        created_at=manifest.created_at,
        loaded_at=found.loaded_at,
        counts=manifest.counts.model_dump(),
        metrics=manifest.metrics,
        standard_errors=manifest.standard_errors,
        paired={
            scope: {name: PairedDifference(**each.model_dump()) for name, each in models.items()}
            for scope, models in manifest.paired.items()
        },
        objective=manifest.scoring.objective,
        transfer=manifest.transfer.kind,
        search="exact" if manifest.search is None else "approximate",
        recall=None if manifest.search is None else manifest.search.recall,
        neighbours=None if neighbours is None else NeighboursSummary(**asdict(neighbours)),
        fold_in=manifest.fold_in is not None,
        likes=None if manifest.likes is None else Likes(**manifest.likes.model_dump()),
        data=DataSummary(
            source=_file(manifest.provenance.source),
            target=_file(manifest.provenance.target),
            split=manifest.provenance.split,
            test_fraction=manifest.provenance.test_fraction,
            seed=manifest.provenance.seed,
            cut=manifest.provenance.cut,
        ),
        shortfalls=[str(shortfall) for shortfall in shortfalls(manifest)],
        histories=found.bundle.console.history is not None,
        map=found.bundle.console.map is not None,
    )


def _file(record: InputFile) -> FileSummary:
    return FileSummary(
        name=record.name, rows_read=record.rows_read, rows_kept=record.rows_kept, left_out=record.cleaning
    )
