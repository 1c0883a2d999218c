"""The parts that every route works with, made once by the application's lifespan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from starlette.requests import HTTPConnection

from service.bundles.loader import Loader
from service.bundles.registry import Registry
from service.engine.batcher import Batcher
from service.engine.jobs import QueueFull
from service.engine.shadow import Shadow
from service.feedback.intake import EventIntake
from service.metrics import Metrics
from service.recent_activity import Activity
from service.settings import Settings
from service.state.store import Store
from service.state.suppression import Guard

if TYPE_CHECKING:
    from service.state.redis_vectors import RedisVectors


class Intake:
    """Limits how many events are written at a time. Requests beyond get 503 with Retry-After."""

    def __init__(self, events: int) -> None:
        self._free = self._all = events

    @contextmanager
    def take(self, events: int) -> Iterator[None]:
        """Count ``events`` as being written meanwhile. Raises QueueFull where too many are; one request always fits."""
        if events > self._free and self._free < self._all:
            raise QueueFull(1)
        self._free -= events
        try:
            yield
        finally:
            self._free += events


@dataclass
class Lifecycle:
    """Whether the service takes new work. Only ``draining`` ever changes."""

    draining: bool = False


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """The parts of the running service."""

    settings: Settings
    metrics: Metrics
    registry: Registry
    batcher: Batcher
    loader: Loader
    shadow: Shadow
    store: Store
    guard: Guard
    vectors: RedisVectors | None
    intake: Intake
    feedback: EventIntake
    lifecycle: Lifecycle
    activity: Activity


def runtime_of(connection: HTTPConnection) -> Runtime:
    """The runtime of the application that ``connection`` came to."""
    return cast(Runtime, connection.app.state.runtime)
