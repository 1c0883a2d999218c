"""Who must not get personal lists, as of this moment: a copy of the store's word, checked before every answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from service.state.store import StateUnavailable, Store, Version

logger = logging.getLogger(__name__)

COPY_SECONDS = 60.0
"""How old the copy may be while the store is away; after that nobody is personalised."""


class Guard:
    """Knows who is suppressed.

    Before an answer the store is asked for its last number, once for all who ask meanwhile; only if it has grown
    are the changes fetched. So an opt-out holds for every request that begins after it was acknowledged, on every
    replica.
    """

    def __init__(self, store: Store, *, on_suppressed: Callable[[str], None] | None = None) -> None:
        """``on_suppressed`` is called with everyone who becomes suppressed, so that others can forget them too."""
        self._store = store
        self._on_suppressed = on_suppressed
        self._suppressed: set[str] = set()
        self._version = Version()
        self._checked = -float("inf")
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        self._healthy = True

    @property
    def healthy(self) -> bool:
        """Whether the store answered the last time it was asked."""
        return self._healthy

    @property
    def age(self) -> float:
        """Seconds since the copy was last known to be true; infinite before the first word from the store."""
        return time.monotonic() - self._checked

    async def refresh(self) -> None:
        """Bring the copy up to date with a check that begins after this call. Never raises: see :meth:`allows`."""
        # A check that is already under way may have missed what was acknowledged before this call; the one after
        # it cannot, and everybody who asks until it begins shares it.
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._check(self._running))
        await asyncio.shield(self._next)

    def allows(self, user_id: str | None) -> bool:
        """Whether the user's data may be used; False for everyone while the copy is too old to tell."""
        if self.age > COPY_SECONDS:
            return False
        return user_id is None or user_id not in self._suppressed

    async def _check(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait((before,))
        self._running, self._next = self._next, None
        began = time.monotonic()
        try:
            version = await self._store.version()
            if version != self._version:
                await self._follow(version)
        except StateUnavailable as error:
            if self._healthy:
                logger.warning("state is not reachable, the copy of opt-outs is used for now: %s", error)
            self._healthy = False
            return
        if not self._healthy:
            logger.info("state is reachable again")
        self._healthy, self._checked = True, began

    async def _follow(self, version: Version) -> None:
        after = self._version.sequence
        if after and (version.store != self._version.store or version.sequence < after):
            # Another store, or one that was emptied. Whoever opted out has not changed their mind by that.
            logger.error("state was lost or replaced; users known to have opted out stay so until the next start")
            after = 0
        changes = await self._store.changes(after)
        for user_id, suppressed in changes.suppressed.items():
            (self._suppressed.add if suppressed else self._suppressed.discard)(user_id)
            if suppressed and self._on_suppressed is not None:
                self._on_suppressed(user_id)
        self._version = Version(version.store, changes.sequence)
