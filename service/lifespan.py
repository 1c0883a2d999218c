"""What the service sets up before its first request and closes after its last: its parts, and the tasks behind them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from service.background import keep
from service.bundles.loader import Loader, warm
from service.bundles.registry import Model, Registry, load_model
from service.bundles.shared_lineup import LineupFile
from service.components import Intake, Lifecycle, Runtime
from service.engine.batcher import Batcher
from service.engine.shadow import Shadow
from service.feedback.harm_watch import HarmWatch
from service.feedback.intake import EventIntake
from service.loop_watch import LoopWatch
from service.metrics import Metrics
from service.recent_activity import Activity
from service.settings import Settings
from service.state.items.following import ItemFollower
from service.state.opening import open_store
from service.state.suppression import Guard

if TYPE_CHECKING:
    from service.state.redis_vectors import RedisVectors

logger = logging.getLogger(__name__)

STOP_SECONDS = 2.0
"""How long background work may take to end, and then checks of the state."""
STATE_SECONDS = 1.0
"""How often the state's health is looked at, ..."""
STATE_AWAY_SECONDS = 0.1
"""... and while it does not answer."""


@asynccontextmanager
async def running(
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
async def background_work(runtime: Runtime) -> AsyncIterator[None]:
    """Tasks that run beside the requests until the end of the block."""
    settings, metrics, loader = runtime.settings, runtime.metrics, runtime.loader
    tasks = [
        keep("following the other workers", loader.follow, metrics),
        keep("watching the state", partial(_watch_state, runtime.guard, metrics), metrics),
        keep("following the items", runtime.items.watch, metrics),
        keep("sampling activity", runtime.activity.watch, metrics),
        keep("watching the loop", LoopWatch(metrics.longest_hold.set, metrics.longest_own_hold.set).watch, metrics),
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
