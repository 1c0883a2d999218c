"""Places where state is, was in another form, or is not."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from service.state.events.kinds import Event
from service.state.items.store import ItemWish
from service.state.opening import NowhereStore, open_store
from service.state.redis import RedisStore
from service.state.sqlite import SqliteStore
from service.state.store import StateBroken, StateUnavailable, Store, Version
from tests.unit.service.state.stores import BUNDLE, erased, event, run


def test_a_redis_that_is_not_there_says_so_soon(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        for call in (
            store.version(),
            store.changes(0),
            store.erase("a"),
            store.set_opt_out("a", True),
            erased(store),
            store.add_events([event("1", "a")], keep_seconds=60),
            store.histories(["a"]),
        ):
            with pytest.raises(StateUnavailable):
                await call

    run(f"unix://{tmp_path / 'nothing.sock'}", body)


def test_without_a_place_nothing_is_promised(tmp_path: Path) -> None:
    async def body() -> None:
        store = open_store("", bundle=tmp_path / "missing" / "bundle")
        assert isinstance(store, NowhereStore)
        assert await store.version() == Version()
        assert await erased(store) == []
        with pytest.raises(StateUnavailable, match="DIFFCDR_STATE_URL"):
            await store.erase("a")
        with pytest.raises(StateUnavailable):
            await store.set_opt_out("a", True)
        with pytest.raises(StateUnavailable):
            await store.add_events([event("1", "a")], keep_seconds=60)
        assert await store.histories(["a"]) == {}

    asyncio.run(body())


def test_the_default_is_a_file_beside_the_bundle(tmp_path: Path) -> None:
    store = open_store("", bundle=tmp_path / "bundle")
    assert isinstance(store, SqliteStore)
    files = [path for path in tmp_path.iterdir() if path.name != "bundle"]
    assert tmp_path / "bundle.state.sqlite" in files
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}, "others could read who opted out"
    asyncio.run(store.close())
    assert isinstance(open_store("redis://localhost", bundle=BUNDLE), RedisStore)


def test_a_state_file_from_before_there_were_domains_is_carried_on(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(
            "CREATE TABLE newcomers (user_id TEXT PRIMARY KEY, expires REAL NOT NULL) WITHOUT ROWID;"
            "CREATE TABLE events (number INTEGER PRIMARY KEY AUTOINCREMENT, user_id TEXT NOT NULL REFERENCES newcomers "
            "(user_id) ON DELETE CASCADE, event_id TEXT NOT NULL, item_id TEXT NOT NULL, rating REAL NOT NULL, "
            "UNIQUE (user_id, event_id));"
            "INSERT INTO newcomers VALUES ('a', 1e12);"
            "INSERT INTO events (user_id, event_id, item_id, rating) VALUES ('a', '1', 's1', 5.0);"
        )

    async def body(store: Store) -> None:
        assert await store.histories(["a"]) == {"a": (("s1", 5.0),)}
        assert await store.add_events([Event("2", "a", "t1", 3.0, "target")], keep_seconds=60) == ["accepted"]
        assert await store.histories(["a"], "target") == {"a": (("t1", 3.0),)}

    run(f"sqlite:{path}", body)


LOST = {
    "an opt-out": ("DELETE FROM people WHERE user_id = 'b'", "1 of 2 changes of users and 2 of 2 changes of items"),
    "a withdrawn item": (
        "DELETE FROM items WHERE item_id = 't2'",
        "2 of 2 changes of users and 1 of 2 changes of items",
    ),
    "all changes of items": ("DROP TABLE items", "2 of 2 changes of users and 0 of 2 changes of items"),
    "the number of a change of items": ("UPDATE items SET sequence = 'x' || sequence", "its sequence is not a number"),
    "which store it is": ("DELETE FROM identity", "does not say which store it is"),
}


@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize("witness", ["of now", "of an earlier version"])
def test_a_file_that_lacks_what_its_witness_knows_is_refused(tmp_path: Path, lost: str, witness: str) -> None:
    path, beside = tmp_path / "state.sqlite", tmp_path / ".state.sqlite.witness"

    async def protect(store: Store) -> None:
        await store.set_opt_out("a", True)
        await store.set_opt_out("b", True)
        await store.items.change({"t1": ItemWish(available=False), "t2": ItemWish(available=False)})

    run(f"sqlite:{path}", protect)
    name, people, changes = beside.read_text().split()
    assert (int(people), int(changes)) == (2, 2)
    if witness != "of now":
        beside.write_text(f"{name} {people}\n")
        # The first opening adds what the witness does not say yet.
        run(f"sqlite:{path}", nothing)
        assert beside.read_text().split() == [name, people, changes]
    statement, reason = LOST[lost]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)

    async def refused(store: Store) -> None:
        for call in (store.version(), store.items.version(), store.items.change({"t3": ItemWish(available=True)})):
            with pytest.raises(StateBroken, match=reason):
                await call

    run(f"sqlite:{path}", refused)
    assert beside.read_text().split() == [name, people, changes]
    if "changes" in reason:
        # What is whole in itself is gone on with, once a person has decided so.
        beside.unlink()
        run(f"sqlite:{path}", nothing)


async def nothing(store: Store) -> None:
    await store.version()
