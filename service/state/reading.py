"""Reads the state once, for offline work (``diffcdr score --state``)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from diffcdr.errors import InputError
from diffcdr.filtering.changes import ChangeLog
from diffcdr.live_state import LiveState
from service.state.opening import open_store, sqlite_path
from service.state.store import StateUnavailable, Store


def open_state(url: str) -> Store:
    """The state at ``url``, which has to be there.

    Raises:
        InputError: none is named, there is no such file, or the URL is of no known kind.
    """
    if not url:
        raise InputError("name the state with --state, as in DIFFCDR_STATE_URL")
    if url.startswith("sqlite:") and not sqlite_path(url).exists():
        # Opening would make an empty one, and what it says would be believed.
        raise InputError(f"there is no state file {sqlite_path(url)}; name the one the service writes")
    return open_store(url, bundle=Path())


def read_state(url: str) -> LiveState:
    """The changes of items and the suppressed users in the state at ``url``.

    Raises:
        InputError: there is no such state, or it cannot be read whole.
    """
    try:
        return asyncio.run(_read(url))
    except StateUnavailable as error:
        raise InputError(
            f"{error}; without the state it is unknown which items are withdrawn and who opted out, so no list is made"
        ) from error


async def _read(url: str) -> LiveState:
    store = open_state(url)
    try:
        # The version is read first: it finds a store of which a part is gone.
        await store.version()
        suppressed = (await store.changes(0)).suppressed
        await store.items.version()
        _, changed = await store.items.changes(0)
        lists = await store.items.lists({})
    finally:
        await store.close()
    log = ChangeLog()
    log.take(changed)
    log.take_lists(lists)
    return LiveState(log.now, frozenset(user for user, away in suppressed.items() if away))
