"""From a URL to a store, or to source vectors.

What speaks Redis is loaded where a URL names one: its client library takes a quarter of the time of a start.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from diffcdr.errors import InputError
from service.settings import Settings
from service.state.sqlite import SqliteStore
from service.state.store import (
    Changes,
    Claim,
    Domain,
    Erasure,
    Event,
    History,
    Outcome,
    StateUnavailable,
    Store,
    Version,
)

if TYPE_CHECKING:
    from service.state.redis_vectors import RedisVectors

logger = logging.getLogger(__name__)

SCHEMES = (
    "redis://",
    "rediss://",
    "unix://",
    "redis+sentinel://",
    "rediss+sentinel://",
    "redis+cluster://",
    "rediss+cluster://",
)


class NowhereStore:
    """Stands in where there is no place to keep anything: knows nobody, and refuses every write with the reason."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def set_opt_out(self, user_id: str, opted_out: bool) -> None:
        """Raises StateUnavailable."""
        raise StateUnavailable(self._reason)

    async def erase(self, user_id: str) -> Erasure:
        """Raises StateUnavailable."""
        raise StateUnavailable(self._reason)

    async def add_events(self, events: Sequence[Event], *, keep_seconds: float) -> list[Outcome]:
        """Raises StateUnavailable."""
        raise StateUnavailable(self._reason)

    async def histories(self, user_ids: Sequence[str], domain: Domain = "source") -> dict[str, History]:
        """None."""
        return {}

    async def claim(self, key: str, asked: str, *, keep_seconds: float) -> Claim:
        """Raises StateUnavailable."""
        raise StateUnavailable(self._reason)

    async def settle(self, key: str, answer: str) -> str:
        """Raises StateUnavailable."""
        raise StateUnavailable(self._reason)

    async def version(self) -> Version:
        """Nothing was ever changed."""
        return Version()

    async def changes(self, after: int) -> Changes:
        """None."""
        return Changes(after, {})

    async def erasures(self) -> AsyncIterator[Erasure]:
        """None."""
        nobody: tuple[Erasure, ...] = ()
        for erasure in nobody:
            yield erasure

    async def close(self) -> None:
        """Nothing to let go of."""


def open_store(url: str, *, bundle: Path) -> Store:
    """The store at ``url``: ``redis://…``, ``rediss://…``, ``unix://…``, or ``sqlite:FILE``.

    Empty: a SQLite file beside ``bundle``, or :class:`NowhereStore` where that folder cannot be written.

    Raises:
        InputError: the URL is of no known kind, or its file cannot be used.
    """
    if url.startswith(SCHEMES):
        return _open_redis(url)
    if url.startswith("sqlite:"):
        try:
            return SqliteStore(sqlite_path(url))
        except StateUnavailable as error:
            raise InputError(str(error)) from error
    if url:
        raise InputError(f"DIFFCDR_STATE_URL must begin with sqlite: or one of {', '.join(SCHEMES)}")
    bundle = bundle.absolute()
    try:
        return SqliteStore(bundle.with_name(f"{bundle.name}.state.sqlite"))
    except StateUnavailable as error:
        logger.warning("opt-outs, erasures and events will be refused: %s", error)
        return NowhereStore(str(error))


def open_vectors(settings: Settings) -> RedisVectors | None:
    """The source vectors in Redis, where ``settings`` say so. Raises InputError without a Redis URL."""
    if settings.vectors == "bundle":
        return None
    url = settings.vectors_url.get_secret_value() or settings.state_url.get_secret_value()
    address = importlib.import_module("service.state.redis_connection").parse_address
    module = importlib.import_module("service.state.redis_vectors")
    found = address(url, name="DIFFCDR_VECTORS=redis: DIFFCDR_VECTORS_URL, or else DIFFCDR_STATE_URL,")
    return cast("RedisVectors", module.RedisVectors(found, keep=settings.vectors_kept))


def _open_redis(url: str) -> Store:
    address = importlib.import_module("service.state.redis_connection").parse_address(url, name="DIFFCDR_STATE_URL")
    return cast(Store, importlib.import_module("service.state.redis").RedisStore(address))


def check_state(settings: Settings) -> None:
    """Find out whether the state that ``settings`` name can be opened, before there is anything to stop.

    Raises:
        InputError: its URL is of no known kind, or its file cannot be used.
    """
    url = settings.state_url.get_secret_value()
    if not url and settings.bundle.is_mount():
        logger.warning(
            "the bundle at %s is a mount point, and opt-outs, erasures and events are kept next to it, outside of the "
            "mount; set DIFFCDR_STATE_URL to a place that lasts",
            settings.bundle,
        )
    if url:
        store = open_store(url, bundle=settings.bundle)
        asyncio.run(store.close())


def sqlite_path(url: str) -> Path:
    """The file that ``sqlite:FILE`` or ``sqlite://FILE`` names."""
    return Path(url.removeprefix("sqlite:").removeprefix("//"))
