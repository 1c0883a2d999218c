"""Events: one contract, kept by both stores."""

from __future__ import annotations

import asyncio

from service.state.events.kinds import MAX_EVENTS_PER_USER, Event
from service.state.opening import open_store
from service.state.store import Store
from tests.unit.service.state.stores import BUNDLE, event, run
from tests.waiting import async_until


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
        assert (await store.version()).sequence == 0, "events suppress nobody"

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
        # Longer than a busy machine needs for the next two steps.
        await store.add_events([event("1", "a"), event("1", "b")], keep_seconds=1.5)
        # Sending even a duplicate shows that the user is still there.
        assert await store.add_events([event("1", "b"), event("1", "c")], keep_seconds=60) == ["duplicate", "accepted"]
        assert set(await store.histories(["a", "b", "c"])) == {"a", "b", "c"}

        async def is_forgotten() -> bool:
            return "a" not in await store.histories(["a"])

        await async_until(is_forgotten)
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
