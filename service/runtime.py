"""What every route works with, made once by the application's lifespan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from starlette.requests import HTTPConnection

from service.batcher import Batcher
from service.loader import Loader
from service.metrics import Metrics
from service.registry import Registry
from service.settings import Settings
from service.shadow import Shadow
from service.state.guard import Guard
from service.state.store import Store
from service.vectors import RedisVectors


@dataclass
class Lifecycle:
    """Whether new work is wanted. ``draining`` is the only thing here that ever changes."""

    draining: bool = False


@dataclass(frozen=True)
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
    lifecycle: Lifecycle


def runtime_of(connection: HTTPConnection) -> Runtime:
    """The runtime of the application that ``connection`` came to."""
    return cast(Runtime, connection.app.state.runtime)
