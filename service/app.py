"""The FastAPI application: its routes and the middleware around them; its parts are set up in ``service.lifespan``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from diffcdr import __version__
from service.bodies.openapi import describe
from service.bundles.registry import Model
from service.bundles.shared_lineup import LineupFile
from service.components import Lifecycle, Runtime
from service.edge.access import Access
from service.edge.auth import key_ring, only_here
from service.edge.concurrency import Places
from service.edge.connection_limits import Limits, most_connections
from service.edge.host_names import HostNames
from service.edge.middleware import DirectRoute, Edge
from service.edge.path_prefix import PathPrefix
from service.edge.problems import from_exception
from service.edge.rate_limit import Quota
from service.edge.server_timing import open_tracing
from service.feedback.intake import EventIntake
from service.feedback.recommendation_ids import open_ids
from service.lifespan import background_work, running
from service.metrics import Metrics
from service.routes import privacy
from service.routes.catalogue import embeddings, item_changes, item_lists, lookup, maps
from service.routes.feedback import events, experiments
from service.routes.lists import batch, popular, recommendations, similar
from service.routes.operations import activity, console, docs, health, models
from service.settings import Settings
from service.state.opening import open_vectors

if TYPE_CHECKING:
    from service.edge.tracing import Tracing

NO_TELEMETRY: Any = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
"""FastAPI's own, which the environment or a tracer of the process could switch on: it puts addresses, and with them
users' ids, into spans, and what is wrong with a request into records. Ours tells routes alone (service.edge.tracing).
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
            async with running(
                settings, metrics, lifecycle, model=model, vectors=vectors, shared=shared, feedback=feedback
            ) as runtime:
                app.state.runtime = runtime
                async with background_work(runtime):
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
        access=Access(
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


async def _problem(request: Request, error: Exception) -> Response:
    problem = from_exception(error)
    if problem.status == 405:
        # The router names the methods of one route; an address may have several.
        address = getattr(request.scope.get("route"), "path_format", "")
        if methods := request.app.openapi()["paths"].get(address):
            allowed = {method.upper() for method in methods}
            problem.headers["Allow"] = ", ".join(sorted(allowed | ({"HEAD"} if "GET" in allowed else set())))
    return problem.response(instance=request.url.path, request_id=request.scope["state"]["request_id"])
