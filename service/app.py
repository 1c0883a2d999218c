"""The FastAPI application: its routes, the middleware around them, and what it sets up before the first request."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from diffcdr import __version__
from service.background import keep
from service.bodies.openapi import describe
from service.bundles.loader import Loader, warm
from service.bundles.registry import Model, Registry, load_model
from service.bundles.shared_lineup import LineupFile
from service.components import Intake, Lifecycle, Runtime
from service.edge.admission import Admission
from service.edge.auth import key_ring, only_here
from service.edge.concurrency import Places
from service.edge.connection_limits import Limits, most_connections
from service.edge.host_names import HostNames
from service.edge.middleware import DirectRoute, Edge
from service.edge.path_prefix import PathPrefix
from service.edge.problems import from_exception
from service.edge.rate_limit import Quota
from service.edge.server_timing import open_tracing
from service.engine.batcher import Batcher
from service.engine.shadow import Shadow
from service.feedback.harm_watch import HarmWatch
from service.feedback.intake import EventIntake
from service.feedback.recommendation_ids import open_ids
from service.loop_watch import LoopWatch
from service.metrics import Metrics
from service.recent_activity import Activity
from service.routes import privacy
from service.routes.catalogue import embeddings, item_changes, item_lists, lookup, maps
from service.routes.feedback import events, experiments
from service.routes.lists import batch, popular, recommendations, similar
from service.routes.operations import activity, console, docs, health, models
from service.settings import Settings
from service.state.items.following import ItemFollower
from service.state.opening import open_store, open_vectors
from service.state.suppression import Guard

if TYPE_CHECKING:
    from service.edge.tracing import Tracing
    from service.state.redis_vectors import RedisVectors

logger = logging.getLogger(__name__)

STOP_SECONDS = 2.0
"""How long background work may take to end, and then checks of the state."""
STATE_SECONDS = 1.0
"""How often the state's health is looked at, ..."""
STATE_AWAY_SECONDS = 0.1
"""... and while it does not answer."""

NO_TELEMETRY: Any = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
"""FastAPI's own, which the environment or a tracer of the process could switch on: it puts addresses, and with them
users' ids, into spans, and what is wrong with a request into records. Ours tells routes alone (service.tracing).
Older versions, which have none, take the argument as one of their extra ones."""

DESCRIPTION = """Cross-domain cold-start recommendation: users' tastes in one domain, transferred to another.

Errors are `application/problem+json` (RFC 9457) with a stable `code`. Every answer carries `X-Request-ID`.
"""


class Front:
    """The ASGI entry point. Requests to direct routes bypass FastAPI.

    FastAPI's own layers would cost them as much as everything the edge does.
    """

    def __init__(self, app: FastAPI, edge: Edge, tracing: Tracing | None) -> None:
        """Wrap ``app``, and the direct routes, in ``edge`` and in ``tracing`` if there is any."""
        self._app, self._edge, self._direct = app, edge, edge.before(app.router)
        app.add_middleware(edge.before)
        if tracing is not None:
            self._direct = tracing.middleware(self._direct)
            app.add_middleware(tracing.middleware)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if self._edge.is_direct(scope):
            scope["app"] = self._app
            await self._direct(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def create_app(
    settings: Settings | None = None,
    *,
    model: Model | None = None,
    lifecycle: Lifecycle | None = None,
    folder: Path | None = None,
) -> FastAPI:
    """The service as an ASGI application. A server calls its ``state.front``.

    Args:
        settings: read from the environment if not given.
        model: a model already loaded from ``settings.bundle``; loaded at start-up otherwise.
        lifecycle: shared with whoever tells the application to drain.
        folder: what several workers share: their lineup and metrics.

    Raises:
        InputError: there are no usable settings or keys, or no keys where other machines can reach the service.
        MissingExtraError: traces are wanted, and what makes them is not installed.
    """
    settings = settings or Settings.read()
    lifecycle = lifecycle or Lifecycle()
    metrics = Metrics(folder=folder)
    shared = LineupFile(folder) if folder is not None else None
    tracing = open_tracing(settings)
    vectors = open_vectors(settings)
    feedback = EventIntake.of(settings, open_ids(settings, folder))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Edge | Limits]]:
        try:
            async with _running(
                settings, metrics, lifecycle, model=model, vectors=vectors, shared=shared, feedback=feedback
            ) as runtime:
                app.state.runtime = runtime
                async with _background_work(runtime):
                    yield {"edge": edge, "limits": limits}
        finally:
            if tracing is not None:
                await asyncio.to_thread(tracing.close)

    def retry_after() -> int:
        runtime: Runtime = app.state.runtime
        return runtime.batcher.retry_after()

    app = FastAPI(
        title="DiffCDR",
        description=DESCRIPTION,
        version=__version__,
        lifespan=lifespan,
        openapi_url=None,  # ours are in service.routes.operations.docs
        docs_url=None,
        redoc_url=None,
        # A redirect would name the host that the request names, and http: a key would be sent again in the clear.
        redirect_slashes=False,
        exception_handlers={HTTPException: _problem, RequestValidationError: _problem},
        telemetry=NO_TELEMETRY,
    )
    for router in (
        recommendations.router,
        batch.router,
        embeddings.router,
        events.router,
        experiments.router,
        popular.router,
        item_changes.router,
        item_lists.router,
        similar.router,
        models.router,
        models.admin,
        privacy.router,
        lookup.router,
        maps.router,
        activity.router,
        health.router,
        console.router,
        docs.router,
    ):
        app.include_router(router)
    app.mount(f"/{docs.FILES}", docs.files())
    edge = Edge(
        metrics=metrics,
        lifecycle=lifecycle,
        access_log=settings.access_log,
        admission=Admission(
            keys=key_ring(settings),
            loopback=only_here(settings),
            hosts=HostNames(settings),
            quota=Quota(settings.rate_limit) if settings.rate_limit else None,
        ),
        places=Places(settings, retry_after=retry_after),
        prefix=PathPrefix(settings.prefix),
        direct=[DirectRoute("POST", recommendations.ADDRESS, recommendations.recommend)],
    )
    limits = Limits(
        keep_alive=settings.keep_alive_seconds,
        head=settings.head_seconds,
        body_rate=settings.min_body_rate,
        connections=most_connections(settings.max_connections),
    )
    app.state.front = Front(app, edge, tracing)
    describe(app)
    return app


@asynccontextmanager
async def _running(
    settings: Settings,
    metrics: Metrics,
    lifecycle: Lifecycle,
    *,
    model: Model | None,
    vectors: RedisVectors | None,
    shared: LineupFile | None,
    feedback: EventIntake,
) -> AsyncIterator[Runtime]:
    """The parts of the service, made and warmed with ``model`` or the settings' bundle; closed at the end."""
    loaded = model
    if loaded is None:
        loaded = await asyncio.to_thread(load_model, settings.bundle, **settings.loading)
    store = open_store(
        settings.state_url.get_secret_value(),
        bundle=settings.bundle,
        require_durable=settings.state_durable == "require",
    )
    guard = Guard(
        store,
        on_suppressed=vectors.forget if vectors else None,
        copy_seconds=settings.state_copy_seconds,
        patience_seconds=settings.state_patience_ms / 1000,
    )
    items = ItemFollower(store.items)
    await asyncio.gather(guard.refresh(), items.refresh())
    batcher = Batcher(queue_rows=settings.queue_rows, batch_rows=settings.batch_rows, metrics=metrics)
    try:
        loaded.recommender.health.listen(metrics.count_device_failure)
        await asyncio.to_thread(warm, loaded, batch_rows=settings.batch_rows)
        registry = Registry(loaded)
        loader = Loader(registry, settings, metrics, shared=shared)
        await loader.begin()
        runtime = Runtime(
            settings=settings,
            metrics=metrics,
            registry=registry,
            batcher=batcher,
            loader=loader,
            shadow=Shadow(batcher, metrics),
            store=store,
            guard=guard,
            items=items,
            vectors=vectors,
            intake=Intake(settings.event_queue),
            feedback=feedback,
            lifecycle=lifecycle,
            activity=Activity(metrics),
        )
        logger.info("ready", extra=loaded.log_fields)
        metrics.workers.set(1)
        yield runtime
    finally:
        await batcher.close()
        await guard.rest(STOP_SECONDS)
        await store.close()
        if vectors is not None:
            await vectors.close()


@asynccontextmanager
async def _background_work(runtime: Runtime) -> AsyncIterator[None]:
    """Tasks that run beside the requests until the end of the block."""
    settings, metrics, loader = runtime.settings, runtime.metrics, runtime.loader
    tasks = [
        keep("following the other workers", loader.follow, metrics),
        keep("watching the state", partial(_watch_state, runtime.guard, metrics), metrics),
        keep("following the items", runtime.items.watch, metrics),
        keep("sampling activity", runtime.activity.watch, metrics),
        keep("watching the loop", LoopWatch(metrics.longest_hold.set).watch, metrics),
    ]
    if settings.watch_seconds:
        tasks.append(keep("watching the bundle", partial(loader.watch, settings.watch_seconds), metrics))
    if settings.stop_on_harm:
        watch = HarmWatch(runtime.registry, runtime.store, loader.change).watch
        tasks.append(keep("watching the canary", watch, metrics))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        # What still asks the state would connect to it again after it is closed.
        await asyncio.wait(tasks, timeout=STOP_SECONDS)


async def _watch_state(guard: Guard, metrics: Metrics) -> None:
    """For ever: keep what is told of the state's health true when nobody asks for anything."""
    while True:
        await guard.refresh()
        metrics.state_up.set(float(guard.healthy))
        metrics.state_checked.set(max(0.0, time.time() - guard.age))
        await asyncio.sleep(STATE_SECONDS if guard.healthy else STATE_AWAY_SECONDS)


async def _problem(request: Request, error: Exception) -> Response:
    problem = from_exception(error)
    if problem.status == 405:
        # The router names the methods of one route; an address may have several.
        address = getattr(request.scope.get("route"), "path_format", "")
        if methods := request.app.openapi()["paths"].get(address):
            allowed = {method.upper() for method in methods}
            problem.headers["Allow"] = ", ".join(sorted(allowed | ({"HEAD"} if "GET" in allowed else set())))
    return problem.response(instance=request.url.path, request_id=request.scope["state"]["request_id"])
