"""A clock that is far ahead forgets nothing, until it has been ahead for long."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from service.state import sqlite as sqlite_module
from service.state.sqlite import SqliteStore
from service.state.store import Claim
from tests.unit.service.state.stores import event

DAY = 86_400.0


def test_a_clock_91_days_ahead_deletes_neither_events_nor_idempotency_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, ahead = time.time, 91 * DAY

    async def write(store: SqliteStore) -> None:
        await store.add_events([event("2", "b")], keep_seconds=90 * DAY)
        await store.claim("other", "x", keep_seconds=DAY)

    async def body() -> None:
        store = SqliteStore(tmp_path / "state.sqlite")
        await store.add_events([event("1", "a")], keep_seconds=90 * DAY)
        await store.claim("key", "asked", keep_seconds=DAY)
        with monkeypatch.context() as patch:
            patch.setattr(sqlite_module.time, "time", lambda: real() + ahead)
            await write(store)
            await write(store)
            assert len(caplog.records) == 1, "told once"
        # Right again: everything is as it was.
        assert await store.claim("key", "another", keep_seconds=DAY) == Claim("asked")
        assert set(await store.histories(["a", "b"])) == {"a", "b"}
        with monkeypatch.context() as patch:
            patch.setattr(sqlite_module.time, "time", lambda: real() + ahead)
            patch.setattr(sqlite_module, "CLOCK_AHEAD_SECONDS", 0.0)
            await write(store)
        assert set(await store.histories(["a", "b"])) == {"b"}, "it was ahead for so long that it is believed"
        await store.close()

    asyncio.run(body())
