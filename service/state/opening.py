"""Opens the store, or the source vectors, that a URL names.

Modules that need the Redis client are imported only for Redis URLs: the import takes a quarter of the start time.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from diffcdr.errors import InputError
from service.settings import Settings
from service.state.events.kinds import ArmTotals, Domain, Event, History, KeptEvent, Outcome
from service.state.items.store import ItemStore, NoItems
from service.state.sqlite import SqliteStore
from service.state.sqlite_file import NeverWas
from service.state.store import (
    NO_WORTH,
    Changes,
    Claim,
    Erasure,
    StateBroken,
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
    """Used if there never was a state and none can be created: empty, and refuses every write with the reason.

    If a state appears at ``path`` after all, ``version`` raises until the next start.
    """

    def __init__(self, reason: str, *, path: Path | None = None) -> None:
        self._reason = reason
        self._path = path
        self.items: ItemStore = NoItems(reason)

    async def set_opt_out(self, user_id: str, opted_out: bool) -> None:
        """Raises StateUnavailable."""
        raise StateUnavailable(self._reason)

    async def erase(self, user_id: str) -> Erasure:
        """Raises StateUnavailable."""
        raise StateUnavailable(self._reason)

    async def add_events(self, events: Sequence[Event], *, keep_seconds: float) -> list[Outcome]:
        """Raises StateUnavailable."""
        raise StateUnavailable(self._reason)

    async def histories(
        self, user_ids: Sequence[str], domain: Domain = "source", *, worth: Mapping[str, float] = NO_WORTH
    ) -> dict[str, History]:
        """None."""
        return {}

    async def trials(self) -> list[ArmTotals]:
        """None."""
        return []

    async def events(self) -> AsyncIterator[KeptEvent]:
        """None."""
        nothing: tuple[KeptEvent, ...] = ()
        for event in nothing:
            yield event

    async def claim(self, key: str, asked: str, *, keep_seconds: float) -> Claim:
        """Raises StateUnavailable."""
        raise StateUnavailable(self._reason)

    async def record_answer(self, key: str, answer: str) -> str:
        """Raises StateUnavailable."""
        raise StateUnavailable(self._reason)

    async def version(self) -> Version:
        """No changes. Raises StateBroken if a state file has appeared since."""
        if self._path is not None and os.path.lexists(self._path):
            raise StateBroken(f"there is a state file {self._path} now; restart to use it")
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
        """Nothing to close."""


def open_store(url: str, *, bundle: Path, require_durable: bool = False) -> Store:
    """The store at ``url``: ``redis://…``, ``rediss://…``, ``unix://…``, or ``sqlite:FILE``.

    If empty: a SQLite file next to ``bundle``, or :class:`NowhereStore` if there is none and the folder is not
    writable. An existing file that cannot be used is not treated as empty: its store raises StateUnavailable until it
    can be used.

    Raises:
        InputError: the kind of URL is not known, or the file cannot be created.
    """
    if url.startswith(SCHEMES):
        return _open_redis(url, require_durable=require_durable)
    if url.startswith("sqlite:"):
        try:
            return SqliteStore(sqlite_path(url))
        except NeverWas as error:
            raise InputError(f"the state cannot be stored there: {error}; set DIFFCDR_STATE_URL") from error
    if url:
        raise InputError(f"DIFFCDR_STATE_URL must begin with sqlite: or one of {', '.join(SCHEMES)}")
    bundle = bundle.absolute()
    path = bundle.with_name(f"{bundle.name}.state.sqlite")
    try:
        return SqliteStore(path)
    except NeverWas as error:
        reason = f"the state cannot be stored next to the bundle: {error}; set DIFFCDR_STATE_URL"
        logger.warning("opt-outs, erasures and events will be refused: %s", reason)
        return NowhereStore(reason, path=path)


def open_vectors(settings: Settings) -> RedisVectors | None:
    """The source vectors in Redis, or None if the bundle has them. Raises InputError without a Redis URL."""
    if settings.vectors == "bundle":
        return None
    url = settings.vectors_url.get_secret_value() or settings.state_url.get_secret_value()
    address = importlib.import_module("service.state.redis_connection").parse_address
    module = importlib.import_module("service.state.redis_vectors")
    found = address(url, name="DIFFCDR_VECTORS=redis: DIFFCDR_VECTORS_URL, or else DIFFCDR_STATE_URL,")
    return cast("RedisVectors", module.RedisVectors(found, keep=settings.vectors_kept))


def _open_redis(url: str, *, require_durable: bool) -> Store:
    address = importlib.import_module("service.state.redis_connection").parse_address(url, name="DIFFCDR_STATE_URL")
    return cast(
        Store, importlib.import_module("service.state.redis").RedisStore(address, require_durable=require_durable)
    )


def check_state(settings: Settings) -> None:
    """Check that the state in ``settings`` can be opened, before anything else is started.

    Raises:
        InputError: the kind of URL is not known, or the file cannot be used.
    """
    url = settings.state_url.get_secret_value()
    if not url and settings.bundle.is_mount():
        logger.warning(
            "the bundle at %s is a mount point, and opt-outs, erasures and events are kept next to it, outside of the "
            "mount; set DIFFCDR_STATE_URL to persistent storage",
            settings.bundle,
        )
    if url:
        store = open_store(url, bundle=settings.bundle)
        asyncio.run(store.close())


def sqlite_path(url: str) -> Path:
    """The file that ``sqlite:FILE`` or ``sqlite://FILE`` names."""
    return Path(url.removeprefix("sqlite:").removeprefix("//"))
