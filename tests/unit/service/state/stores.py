"""What tests do with a store, wherever it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from service.state.events.kinds import Event
from service.state.opening import open_store
from service.state.store import Store
from tests.waiting import LIMIT_SECONDS

BUNDLE = Path("bundle")


def run(url: str, body: Callable[[Store], Awaitable[None]]) -> None:
    async def main() -> None:
        store = open_store(url, bundle=BUNDLE)
        try:
            await asyncio.wait_for(body(store), LIMIT_SECONDS)
        finally:
            await store.close()

    asyncio.run(main())


async def suppressed(store: Store, after: int = 0) -> dict[str, bool]:
    return (await store.changes(after)).suppressed


def event(event_id: str, user_id: str, *, item: str = "s1", rating: float = 5.0) -> Event:
    return Event(event_id, user_id, item, rating)


async def erased(store: Store) -> list[str]:
    return [erasure.user_id async for erasure in store.erasures()]
