"""One process's copy of item changes, at most a fraction of a second behind the store.

Fails closed: until the store was read once after the start, no item counts as available, and lists are empty.
Afterwards the copy stays in use while the store is unreachable: withdrawn items stay withdrawn.
"""

from __future__ import annotations

import asyncio
import logging

from diffcdr.filtering.changes import UNKNOWN, ChangeLog, ItemChange, ItemChanges
from service.state.items.store import ItemStore, ItemVersion

logger = logging.getLogger(__name__)

FOLLOW_SECONDS = 0.2


class ItemFollower:
    """Knows which items are available, and their tags. Use it on one event loop."""

    def __init__(self, store: ItemStore) -> None:
        self._store = store
        self._log = ChangeLog()
        self._version: ItemVersion | None = None
        self._turn = asyncio.Lock()
        self._said = ""

    @property
    def now(self) -> ItemChanges:
        """The current changes; :data:`UNKNOWN` before the first answer of the store."""
        return UNKNOWN if self._version is None else self._log.now

    async def refresh(self) -> bool:
        """Bring the copy up to date; True if the store could be read. Never raises."""
        async with self._turn:
            try:
                await self._follow()
            except Exception as error:
                said = f"{type(error).__name__}: {error}"
                if said != self._said:
                    known = "no list holds an item" if self._version is None else "the copy of them is used for now"
                    logger.error("changes of items cannot be read, %s: %s", known, said)
                self._said = said
                return False
            self._said = ""
            return True

    async def watch(self) -> None:
        """Run forever: keep the copy up to date."""
        while True:
            await self.refresh()
            await asyncio.sleep(FOLLOW_SECONDS)

    async def _follow(self) -> None:
        version, known = await self._store.version(), self._version
        if version == known:
            return
        again = known is not None and (version.store != known.store or version.sequence < known.sequence)
        begun = known is None or again or not known.store
        last, changed = await self._store.changes(0 if begun or known is None else known.sequence)
        if again and known is not None and known.sequence:
            # Another store, or an older copy of it: items known to be withdrawn stay withdrawn.
            logger.error("changes of items were lost or replaced; what was withdrawn stays so until the next start")
            held = {item for item, change in self._log.now.entries.items() if change.available is False}
            changed = {
                item: ItemChange(False, change.tags) if item in held else change for item, change in changed.items()
            }
        self._log.take(changed)
        if known is None or version.lists != known.lists:
            self._log.take_lists(await self._store.lists(self._log.now.lists))
        self._version = ItemVersion(version.store, max(last, version.sequence), version.lists)
