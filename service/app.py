"""The application: routes, the edge around them, and what has to exist before the first request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from service.batcher import Batcher
from service.edge import DirectRoute, Edge
from service.metrics import Metrics
from service.openapi import describe
from service.problems import from_exception
from service.registry import Model, Registry, load_model, warm_queries
from service.routes import batch, embeddings, health, items, models, recommendations
from service.runtime import Lifecycle, Runtime
from service.settings import Settings

logger = logging.getLogger(__name__)

DESCRIPTION = """Cross-domain cold-start recommendation: what users like in one domain, carried over to another.

Errors are `application/problem+json` (RFC 9457) with a stable `code`. Every answer carries `X-Request-ID`.
"""


def create_app(
    settings: Settings | None = None, *, model: Model | None = None, lifecycle: Lifecycle | None = None
) -> FastAPI:
    """The service as an ASGI application.

    Args:
        settings: read from the environment if not given.
        model: a model already loaded from ``settings.bundle``; loaded at start-up otherwise.
        lifecycle: shared with whoever tells the application to drain.

    Raises:
        InputError: ``settings`` is not given and the environment does not hold usable ones.
    """
    settings = settings or Settings.read()
    lifecycle = lifecycle or Lifecycle()
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loaded = model
        if loaded is None:
            loaded = await asyncio.to_thread(
                load_model, settings.bundle, device=settings.device, threads=settings.threads
            )
        batcher = Batcher(queue_rows=settings.queue_rows, batch_rows=settings.batch_rows, metrics=metrics)
        try:
            await _warm(batcher, loaded, batch_rows=settings.batch_rows)
            metrics.bundle.labels(loaded.id, loaded.manifest.model, loaded.state, loaded.device).set(1)
            app.state.runtime = Runtime(settings, metrics, Registry(loaded), batcher, lifecycle)
            logger.info("ready", extra={"bundle": loaded.id, "device": loaded.device})
            yield
        finally:
            await batcher.close()

    app = FastAPIOffline(
        title="DiffCDR",
        description=DESCRIPTION,
        version=version("diffcdr"),
        lifespan=lifespan,
        redoc_url=None,
        exception_handlers={HTTPException: _problem, RequestValidationError: _problem},
    )
    for module in (recommendations, batch, embeddings, items, models, health):
        app.include_router(module.router)
    app.add_middleware(
        Edge,
        metrics=metrics,
        lifecycle=lifecycle,
        access_log=settings.access_log,
        direct=[DirectRoute("POST", recommendations.ADDRESS, recommendations.recommend)],
    )
    describe(app)
    return app


async def _problem(request: Request, error: Exception) -> Response:
    problem = from_exception(error)
    return problem.response(instance=request.url.path, request_id=request.scope["state"]["request_id"])


async def _warm(batcher: Batcher, model: Model, *, batch_rows: int) -> None:
    """Ask every kind of question in every bucket of batch sizes, so that no caller pays for first times."""
    queries = warm_queries(model)
    size = len(queries)
    while size < batch_rows:
        await batcher.recommend(model.recommender, queries)
        size = min(size * 4, batch_rows)
        queries = (queries * (-(-size // len(queries))))[:size]
    await batcher.recommend(model.recommender, queries[:batch_rows])
