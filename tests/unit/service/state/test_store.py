"""One contract, kept by both stores, with a real SQLite file and a real Redis."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.state.opening import NowhereStore, open_store
from service.state.redis import RedisStore
from service.state.sqlite import SqliteStore
from service.state.store import MAX_EVENTS_PER_USER, Claim, Event, StateUnavailable, Store, Version

BUNDLE = Path("bundle")


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    return f"sqlite:{tmp_path / 'state.sqlite'}"


def run(url: str, body: Callable[[Store], Awaitable[None]]) -> None:
    async def main() -> None:
        store = open_store(url, bundle=BUNDLE)
        try:
            await asyncio.wait_for(body(store), 30)
        finally:
            await store.close()

    asyncio.run(main())


async def suppressed(store: Store, after: int = 0) -> dict[str, bool]:
    return (await store.changes(after)).suppressed


def event(event_id: str, user_id: str, *, item: str = "s1", rating: float = 5.0) -> Event:
    return Event(event_id, user_id, item, rating)


async def erased(store: Store) -> list[str]:
    return [erasure.user_id async for erasure in store.erasures()]


def test_an_opt_out_holds_until_it_is_taken_back(url: str) -> None:
    async def body(store: Store) -> None:
        await store.set_opt_out("a", True)
        await store.set_opt_out("b/ü\n", True)
        assert await suppressed(store) == {"a": True, "b/ü\n": True}
        await store.set_opt_out("a", False)
        assert await suppressed(store) == {"a": False, "b/ü\n": True}
        assert await erased(store) == []

    run(url, body)


def test_an_erasure_is_for_ever_and_keeps_its_receipt(url: str) -> None:
    async def body(store: Store) -> None:
        first = await store.erase("a")
        assert first == await store.erase("a")
        assert len(first.receipt) == 32
        await store.set_opt_out("a", True)
        await store.set_opt_out("a", False)
        assert await suppressed(store) == {"a": True}
        other = await store.erase("b")
        assert other.receipt != first.receipt
        assert await erased(store) == ["a", "b"]

    run(url, body)


def test_only_changes_are_numbered(url: str) -> None:
    async def body(store: Store) -> None:
        await store.set_opt_out("a", True)
        version = await store.version()
        for _ in range(3):
            await store.set_opt_out("a", True)
            await store.set_opt_out("stranger", True)
            await store.set_opt_out("stranger", True)
        assert version.store != ""
        assert await store.version() == Version(version.store, version.sequence + 1)
        assert await suppressed(store, version.sequence) == {"stranger": True}
        assert (await store.changes(version.sequence + 1)).suppressed == {}

    run(url, body)


def test_what_was_written_is_there_for_others_and_afterwards(url: str) -> None:
    async def write(store: Store) -> None:
        other = open_store(url, bundle=BUNDLE)
        await store.set_opt_out("a", True)
        await store.erase("b")
        assert await suppressed(other) == {"a": True, "b": True}
        assert await other.version() == await store.version()
        await other.close()

    async def read(store: Store) -> None:
        assert await suppressed(store) == {"a": True, "b": True}

    run(url, write)
    run(url, read)


def test_writers_at_once_lose_nothing(url: str) -> None:
    async def body(store: Store) -> None:
        other = open_store(url, bundle=BUNDLE)
        users = [f"u{number}" for number in range(60)]
        await asyncio.gather(*((store, other)[number % 2].set_opt_out(user, True) for number, user in enumerate(users)))
        assert await suppressed(store) == dict.fromkeys(users, True)
        assert (await store.version()).sequence == len(users)
        await other.close()

    run(url, body)


def test_events_come_back_in_order_and_count_once(url: str) -> None:
    async def body(store: Store) -> None:
        sent = [event("1", "a", rating=1.5), event("1", "b/ü\n", item="s 2", rating=1e300), event("2", "a", item="s0 ")]
        assert await store.add_events([*sent, sent[0]], keep_seconds=60) == ["accepted"] * 3 + ["duplicate"]
        changed = event("1", "a", item="other", rating=0.1)
        assert await store.add_events([changed, event("3", "a", rating=-0.1)], keep_seconds=60) == [
            "duplicate",
            "accepted",
        ]
        assert await store.histories(["nobody", "b/ü\n", "a"]) == {
            "a": (("s1", 1.5), ("s0 ", 5.0), ("s1", -0.1)),
            "b/ü\n": (("s 2", 1e300),),
        }
        assert await store.histories([]) == {}
        assert await store.version() == Version((await store.version()).store, 0), "events suppress nobody"

    run(url, body)


def test_the_oldest_events_of_a_user_go_and_only_that_user_s(url: str) -> None:
    async def body(store: Store) -> None:
        await store.add_events([event("1", "b")], keep_seconds=60)
        numbered = [event(str(number), "a", rating=float(number)) for number in range(MAX_EVENTS_PER_USER + 3)]
        assert set(await store.add_events(numbered, keep_seconds=60)) == {"accepted"}
        history = (await store.histories(["a"]))["a"]
        assert [rating for _, rating in history] == [one.rating for one in numbered[3:]]
        assert await store.add_events(numbered[2:4], keep_seconds=60) == ["accepted", "duplicate"]
        assert (await store.histories(["a"]))["a"][-1] == ("s1", 2.0)
        assert await store.histories(["b"]) == {"b": (("s1", 5.0),)}

    run(url, body)


def test_events_are_forgotten_some_time_after_the_last(url: str) -> None:
    async def body(store: Store) -> None:
        await store.add_events([event("1", "a"), event("1", "b")], keep_seconds=0.3)
        # Sending even a duplicate shows that the user is still there.
        assert await store.add_events([event("1", "b"), event("1", "c")], keep_seconds=60) == ["duplicate", "accepted"]
        assert set(await store.histories(["a", "b", "c"])) == {"a", "b", "c"}
        await asyncio.sleep(0.35)
        assert set(await store.histories(["a", "b", "c"])) == {"b", "c"}
        assert await store.add_events([event("1", "a", rating=2.0)], keep_seconds=60) == ["accepted"]
        assert await store.histories(["a"]) == {"a": (("s1", 2.0),)}

    run(url, body)


def test_an_erasure_that_races_with_events_leaves_none(url: str) -> None:
    async def body(store: Store) -> None:
        other = open_store(url, bundle=BUNDLE)
        sent = [other.add_events([event(str(number), "a")], keep_seconds=60) for number in range(30)]
        outcomes, *_ = await asyncio.gather(asyncio.gather(*sent), store.erase("a"))
        assert await other.histories(["a"]) == {}
        assert await other.add_events([event("new", "a"), event("1", "b")], keep_seconds=60) == [
            "suppressed",
            "accepted",
        ]
        assert {outcome for (outcome,) in outcomes} <= {"accepted", "suppressed"}
        await other.close()

    run(url, body)


def test_a_key_belongs_to_what_was_first_asked_and_keeps_its_first_answer(url: str) -> None:
    async def body(store: Store) -> None:
        other = open_store(url, bundle=BUNDLE)
        assert await store.claim("k", "one", keep_seconds=60) == Claim("one")
        assert await other.claim("k", "two", keep_seconds=60) == Claim("one")
        assert await other.settle("k", "first/ü") == "first/ü"
        assert await store.settle("k", "second") == "first/ü"
        assert await store.claim("k", "one", keep_seconds=60) == Claim("one", "first/ü")
        assert await store.settle("unclaimed", "answer") == "answer"
        assert await store.claim("unclaimed", "x", keep_seconds=0.2) == Claim("x")
        await asyncio.sleep(0.25)
        assert await store.claim("unclaimed", "y", keep_seconds=60) == Claim("y"), "forgotten in time"
        claims = await asyncio.gather(
            *(one.claim("race", str(n), keep_seconds=60) for n in range(9) for one in (store, other))
        )
        assert len(set(claims)) == 1
        await other.close()

    run(url, body)


step = st.tuples(
    st.sampled_from(["out", "in", "erase", "rate", "rate again", "claim", "settle"]), st.sampled_from(["a", "b", "c"])
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(step, max_size=15), cut=st.integers(0, 15))
def test_both_stores_agree_with_a_set(
    steps: list[tuple[str, str]], cut: int, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    urls = [redis_url, f"sqlite:{tmp_path_factory.mktemp('state') / 'state.sqlite'}"]

    async def body(store: Store) -> None:
        out: set[str] = set()
        gone: set[str] = set()
        after = 0
        since: set[str] = set()
        rated: dict[str, list[tuple[str, float]]] = {}
        claims: dict[str, Claim] = {}
        for number, (action, user) in enumerate(steps):
            if number == cut:
                after, since = (await store.version()).sequence, set()
            before = (user in out, user in gone)
            if action == "erase":
                gone.add(user)
                rated.pop(user, None)
                await store.erase(user)
            elif action == "claim":
                claims.setdefault(user, Claim(str(number)))
                assert await store.claim(user, str(number), keep_seconds=60) == claims[user]
            elif action == "settle":
                if user in claims and claims[user].answer is None:
                    claims[user] = Claim(claims[user].asked, str(number))
                expected_answer = claims[user].answer if user in claims else str(number)
                assert await store.settle(user, str(number)) == expected_answer
            elif action.startswith("rate"):
                name = "same" if action == "rate again" else str(number)
                fresh = user not in out | gone and (name, 5.0) not in rated.get(user, [])
                expected = "suppressed" if user in out | gone else "accepted" if fresh else "duplicate"
                assert await store.add_events([event(name, user, item=name)], keep_seconds=60) == [expected]
                if fresh:
                    rated.setdefault(user, []).append((name, 5.0))
            else:
                (out.add if action == "out" else out.discard)(user)
                await store.set_opt_out(user, action == "out")
            if before != (user in out, user in gone):
                since.add(user)
        found = await store.changes(after)
        # A store may also mention users for whom a repetition changed nothing.
        assert since <= set(found.suppressed)
        assert all(value == (user in out | gone) for user, value in found.suppressed.items())
        assert {user for user, value in (await suppressed(store)).items() if value} == out | gone
        assert set(await erased(store)) == gone
        assert await store.histories(["a", "b", "c"]) == {user: tuple(ratings) for user, ratings in rated.items()}

    for url in urls:
        run(url, body)


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
    asyncio.run(store.close())
    assert (tmp_path / "bundle.state.sqlite").exists()
    assert isinstance(open_store("redis://localhost", bundle=BUNDLE), RedisStore)


def test_events_of_both_domains_are_told_apart_and_forgotten_together(url: str) -> None:
    async def body(store: Store) -> None:
        sent = [
            event("1", "a", item="t 1", rating=4.0),
            Event("2", "a", "t 1", 1e300, "target"),
            Event("3", "a", "9 t", -0.5, "target"),
            Event("1", "b", "t2", 2.0, "target"),
        ]
        assert set(await store.add_events(sent, keep_seconds=60)) == {"accepted"}
        # One event id means one event, wherever its item is from.
        assert await store.add_events([Event("1", "a", "t3", 1.0, "target")], keep_seconds=60) == ["duplicate"]
        assert await store.histories(["a", "b", "c"]) == {"a": (("t 1", 4.0),)}
        assert await store.histories(["a", "b", "c"], "target") == {
            "a": (("t 1", 1e300), ("9 t", -0.5)),
            "b": (("t2", 2.0),),
        }
        await store.erase("a")
        assert await store.histories(["a"]) == await store.histories(["a"], "target") == {}

    run(url, body)


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
