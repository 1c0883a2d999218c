"""Events as they are exported: whole, with their hour, and without the people who do not want it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.state import sqlite
from service.state.events import redis
from service.state.events import sqlite as event_tables
from service.state.events.hours import EventHours, hour_of
from service.state.events.kinds import Event, KeptEvent
from service.state.exporting import export_events
from service.state.opening import open_store
from service.state.store import StateBroken, Store
from tests.unit.service.state.stores import BUNDLE, event, run

HOUR = 3600.0
MORNING = 1_767_952_800.0


class _Clock:
    """Stands for a module's ``time``."""

    def __init__(self) -> None:
        self.now = MORNING

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    for module in (sqlite, redis):
        monkeypatch.setattr(module, "time", clock)
    return clock


def shown(events: list[KeptEvent]) -> list[tuple[str, str, float | None, str, int | None]]:
    return [(one.user_id, one.item_id, one.rating, one.domain, one.at) for one in events]


def test_events_come_out_as_they_were_sent_with_their_hour(url: str, clock: _Clock) -> None:
    async def body(store: Store) -> None:
        await store.add_events([event("1", "b:ü\n*", item="s 2", rating=1e300), event("1", "a")], keep_seconds=1e6)
        clock.now += 0.5 * HOUR
        await store.add_events([event("2", "a", item="x")], keep_seconds=1e6)
        clock.now += HOUR
        # What is sent again keeps its first hour.
        await store.add_events([Event("3", "a", "t 1", -0.5, "target"), event("1", "a")], keep_seconds=1e6)
        morning, noon = hour_of(MORNING), hour_of(clock.now)
        expected = [
            ("a", "s1", 5.0, "source", morning),
            ("a", "x", 5.0, "source", morning),
            ("a", "t 1", -0.5, "target", noon),
            ("b:ü\n*", "s 2", 1e300, "source", morning),
        ]
        assert shown((await export_events(store)).events) == expected
        # An hour counts if a part of it does.
        assert shown((await export_events(store, since=MORNING + 1)).events) == expected
        assert shown((await export_events(store, since=clock.now)).events) == expected[2:3]
        assert shown((await export_events(store, since=clock.now + HOUR)).events) == []

    run(url, body)


def test_who_opted_out_or_was_erased_is_left_out_even_while_it_is_read(url: str) -> None:
    class Meanwhile:
        """The store of another replica suppresses somebody in the middle of the reading."""

        def __init__(self, store: Store, other: Store) -> None:
            self._store, self._other = store, other

        def __getattr__(self, name: str) -> object:
            return getattr(self._store, name)

        async def events(self) -> AsyncIterator[KeptEvent]:
            async for one in self._store.events():
                yield one
            await self._other.erase("late")
            await self._other.set_opt_out("late too", True)

    async def body(store: Store) -> None:
        users = ("stays", "out", "back", "gone", "late", "late too")
        await store.add_events([event("1", user) for user in users], keep_seconds=60)
        for user in ("out", "back"):
            await store.set_opt_out(user, True)
        await store.set_opt_out("back", False)
        await store.erase("gone")
        other = open_store(url, bundle=BUNDLE)
        found = await export_events(Meanwhile(store, other))  # type: ignore[arg-type]
        assert [one.user_id for one in found.events] == ["back", "stays"]
        assert found.suppressed == 3
        await other.close()

    run(url, body)


def test_many_events_come_out_once_each(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_tables, "PAGE", 7)
    monkeypatch.setattr(redis, "_SCANNED", 3)

    async def body(store: Store) -> None:
        sent = [event(str(number), f"u{number % 40}", rating=float(number)) for number in range(100)]
        await store.add_events(sent, keep_seconds=60)
        found = (await export_events(store)).events
        assert sorted((one.user_id, one.rating) for one in found) == sorted((one.user_id, one.rating) for one in sent)

    run(url, body)


def test_a_state_that_changes_under_the_reading_gives_nothing(url: str, tmp_path: Path) -> None:
    class Replaced:
        def __init__(self, store: Store, fresh: Store) -> None:
            self._stores = [store, fresh]

        def __getattr__(self, name: str) -> object:
            return getattr(self._stores[0], name)

        async def events(self) -> AsyncIterator[KeptEvent]:
            async for one in self._stores[0].events():
                yield one
            self._stores.reverse()

    async def body(store: Store) -> None:
        await store.set_opt_out("out", True)
        await store.add_events([event("1", "a")], keep_seconds=60)
        fresh = open_store(f"sqlite:{tmp_path / 'fresh.sqlite'}", bundle=BUNDLE)
        try:
            with pytest.raises(StateBroken, match="replaced"):
                await export_events(Replaced(store, fresh))  # type: ignore[arg-type]
        finally:
            await fresh.close()

    run(url, body)


def test_events_of_an_earlier_version_have_no_hour(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"

    async def fill() -> None:
        store = open_store(f"sqlite:{path}", bundle=BUNDLE)
        await store.add_events([event("1", "a")], keep_seconds=60)
        await store.close()

    asyncio.run(fill())
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE event_hours")

    async def body(store: Store) -> None:
        await store.add_events([event("2", "a", item="new")], keep_seconds=60)
        found = await export_events(store)
        assert [(one.item_id, one.at is None) for one in found.events] == [("s1", True), ("new", False)]
        later = await export_events(store, since=0)
        assert ([one.item_id for one in later.events], later.undated) == (["new"], 1)

    run(f"sqlite:{path}", body)


def test_hours_grow_with_the_numbers() -> None:
    hours = EventHours([(5, 7200), (1, 3600), (5, 10800)])
    assert [hours.of(number) for number in (0, 1, 4, 5, 99)] == [None, 3600, 3600, 10800, 10800]
