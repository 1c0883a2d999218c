"""Probes and metrics."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.bodies.requests import JSON
from service.components import Runtime, runtime_of
from service.edge.problems import responses
from service.schemas import Health, Readiness

router = APIRouter(tags=["health"])

State = Literal["ok", "draining", "stalled", "behind"]
Component = Literal[State, "degraded"]


@router.get(
    "/livez",
    summary="Whether the process works",
    response_class=Response,
    responses={200: {"model": Health}, 503: {"model": Health, "description": "Stalled"}, **responses("internal_error")},
)
async def livez(request: Request) -> Response:
    """503 if a single computation has run for longer than `DIFFCDR_STALL_SECONDS`: then restart the process."""
    status = _engine_state(runtime_of(request))
    return _health(Health(status=status), ok=status == "ok")


@router.get(
    "/readyz",
    summary="Whether the service wants traffic",
    response_class=Response,
    responses={
        200: {"model": Readiness},
        503: {"model": Readiness, "description": "Draining, stalled, or behind the other workers"},
        **responses("internal_error"),
    },
)
async def readyz(request: Request) -> Response:
    """200 once the bundle is loaded, verified and warmed; 503 from the moment the service begins to drain."""
    runtime = runtime_of(request)
    engine, lifecycle, bundle = _engine_state(runtime), _lifecycle_state(runtime), _bundle_state(runtime)
    model = runtime.registry.lineup.stable
    # The service answers without its store, only less: that is no reason to send its callers away.
    components: dict[str, Component] = {
        "bundle": bundle,
        "engine": engine,
        "lifecycle": lifecycle,
        "state": "ok" if runtime.guard.healthy else "degraded",
        "device": "ok" if model.recommender.health.lost is None else "degraded",
    }
    parts: tuple[State, ...] = (engine, lifecycle, bundle)
    status: State = next((part for part in parts if part != "ok"), "ok")
    placement = model.recommender.placement
    body = Readiness(
        status=status,
        components=components,
        bundle=model.id,
        device=placement.device,
        provider=placement.provider,
        provider_version=placement.version,
        search_device=model.recommender.search_device,
    )
    return _health(body, ok=status == "ok")


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={
        200: {"description": "Prometheus' text format.", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **responses("internal_error"),
    },
)
async def metrics(request: Request) -> Response:
    """All counters since the start, summed over all workers."""
    return Response(runtime_of(request).metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _engine_state(runtime: Runtime) -> State:
    return "stalled" if runtime.batcher.busy_seconds > runtime.settings.stall_seconds else "ok"


def _lifecycle_state(runtime: Runtime) -> State:
    return "draining" if runtime.lifecycle.draining else "ok"


def _bundle_state(runtime: Runtime) -> State:
    return "behind" if runtime.loader.behind else "ok"


def _health(body: Health, *, ok: bool) -> Response:
    return Response(body.model_dump_json(), status_code=200 if ok else 503, media_type=JSON)
