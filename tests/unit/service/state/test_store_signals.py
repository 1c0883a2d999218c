"""Events that are no ratings, and what they count for: one contract, kept by both stores."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.state.events.kinds import MAX_EVENTS_PER_USER, Counter, Event, KeptEvent, Trial
from service.state.store import Store
from tests.unit.service.state.stores import event, run

PURCHASE = Event(
    "p", "a", "t 1\0x", None, "target", type="purchase", recommendation_id="R" * 60, position=3, at=1_790_000_000
)
CLICK = Event("c", "a", "t2", None, "target", type="click", position=1, liked=False)
ON = Trial("0a0b", "canary", 12.5, "abcd")
OFF = Trial("0a0b", "stable", 12.5, "ef01")


def test_events_of_all_types_come_back_as_they_were_sent(url: str) -> None:
    async def body(store: Store) -> None:
        rated = Event("r", "a", "t3", 2.5, "target", recommendation_id="S" * 60, position=2)
        assert await store.add_events([PURCHASE, CLICK, rated, event("1", "b")], keep_seconds=60) == ["accepted"] * 4
        # One event id means one event, of whatever type it is.
        again = [replace(CLICK, event_id="p"), replace(PURCHASE, event_id="c"), event("r", "a")]
        assert await store.add_events(again, keep_seconds=60) == ["duplicate"] * 3
        found = {(one.user_id, one.type): one async for one in store.events()}
        assert found["a", "purchase"] == KeptEvent(
            found["a", "purchase"].number, "a", "t 1\0x", None, "target", 1_790_000_000, "purchase", "R" * 60, 3
        )
        click = found["a", "click"]
        assert (click.item_id, click.rating, click.position, click.recommendation_id) == ("t2", None, 1, None)
        assert click.at is not None and click.at % 3600 == 0 and click.at > 1_600_000_000
        assert (found["a", "rating"].rating, found["a", "rating"].position) == (2.5, 2)
        assert set(found) == {("a", "purchase"), ("a", "click"), ("a", "rating"), ("b", "rating")}
        # In lists: ratings as they are, others by the worth of their type, and what is not liked not at all.
        assert await store.histories(["a"], "target") == {"a": (("t3", 2.5),)}
        worth = {"purchase": 4.5, "click": 1.0}
        assert await store.histories(["a"], "target", worth=worth) == {"a": (("t 1\0x", 4.5), ("t3", 2.5))}
        await store.erase("a")
        assert [one.user_id async for one in store.events()] == ["b"]

    run(url, body)


def test_impressions_never_push_out_ratings(url: str) -> None:
    async def body(store: Store) -> None:
        await store.add_events([event("1", "a")], keep_seconds=60)
        shown = [
            Event(f"i{number}", "a", f"t{number}", None, "target", type="impression", liked=False)
            for number in range(MAX_EVENTS_PER_USER + 2)
        ]
        assert set(await store.add_events(shown, keep_seconds=60)) == {"accepted"}
        kept = [one async for one in store.events()]
        assert len(kept) == MAX_EVENTS_PER_USER + 1
        assert {f"t{number}" for number in range(2, MAX_EVENTS_PER_USER + 2)} | {"s1"} == {one.item_id for one in kept}

    run(url, body)


STEP = st.tuples(
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["impressions", "clicks", "conversions", "erase", "again", "out"]),
    st.sampled_from([ON, OFF]),
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(STEP, max_size=12))
def test_totals_are_those_of_the_users_who_are_there(
    steps: list[tuple[str, str, Trial]], redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    # A user has one arm in a comparison.
    arms = {user: trial for user, _, trial in reversed(steps)}

    async def body(store: Store) -> None:
        done: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        gone: set[str] = set()
        sent: list[Event] = []
        for number, (user, action, _) in enumerate(steps):
            if action == "erase":
                gone.add(user)
                done.pop(user, None)
                await store.erase(user)
            elif action == "out":
                gone.add(user)
                await store.set_opt_out(user, True)
            elif action == "again":
                await store.add_events(sent[-3:], keep_seconds=60)
            else:
                counter: Counter = action  # type: ignore[assignment]
                one = replace(CLICK, event_id=str(number), user_id=user, trial=arms[user], counter=counter)
                sent.append(one)
                await store.add_events([one], keep_seconds=60)
                if user not in gone:
                    done[user][action] += 1
        found = {arm.trial: arm for arm in await store.trials()}
        for trial in (ON, OFF):
            mine = [tally for user, tally in done.items() if arms[user] == trial and tally]
            expected = (
                len(mine),
                *(sum(tally[name] for tally in mine) for name in ("impressions", "clicks", "conversions")),
                *(sum(tally[name] > 0 for tally in mine) for name in ("clicks", "conversions")),
            )
            arm = found.get(trial)
            assert expected == (
                (0,) * 6
                if arm is None
                else (arm.users, arm.impressions, arm.clicks, arm.conversions, arm.clickers, arm.converters)
            )

    for url in (redis_url, f"sqlite:{tmp_path_factory.mktemp('state') / 'state.sqlite'}"):
        run(url, body)


def test_the_totals_of_a_comparison_are_forgotten_after_its_last_event(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.state import sqlite  # noqa: PLC0415 - whose clock is turned
    from service.state.events import redis as redis_events  # noqa: PLC0415

    class Clock:
        now = 1_790_000_000.0

        def time(self) -> float:
            return self.now

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    for module in (sqlite, redis_events):
        monkeypatch.setattr(module, "time", clock)

    async def body(store: Store) -> None:
        one = replace(CLICK, trial=ON, counter="clicks")
        await store.add_events([one], keep_seconds=1000)
        clock.now += 900
        await store.add_events([replace(one, event_id="2", user_id="b")], keep_seconds=1000)
        other = replace(one, trial=Trial("ffff", "stable", 50.0, "ab"))
        clock.now += 900
        await store.add_events([replace(other, event_id="3")], keep_seconds=1000)
        assert [arm.trial.experiment for arm in await store.trials()] == ["ffff", "0a0b"]
        clock.now += 200
        await store.add_events([replace(other, event_id="4", trial=replace(ON, experiment="eeee"))], keep_seconds=1000)
        assert [arm.trial.experiment for arm in await store.trials()] == ["eeee", "ffff"]

    run(url, body)


def test_a_state_file_that_knew_ratings_alone_is_carried_on(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"

    async def rated(store: Store) -> None:
        await store.add_events([event("1", "a"), Event("2", "a", "t1", 3.0, "target")], keep_seconds=1e6)
        await store.set_opt_out("out", True)

    run(f"sqlite:{path}", rated)
    with closing(sqlite3.connect(path)) as old:  # as the version before left it
        old.executescript(
            "DROP TABLE signals; DROP TABLE trials; DROP TABLE trial_users;"
            + "".join(
                f"ALTER TABLE events DROP COLUMN {name};" for name in ("type", "recommendation", "position", "at")
            )
        )

    async def body(store: Store) -> None:
        assert (await store.changes(0)).suppressed == {"out": True}
        assert await store.histories(["a"]) == {"a": (("s1", 5.0),)}
        assert await store.add_events([PURCHASE, CLICK, event("1", "a")], keep_seconds=60) == [
            "accepted",
            "accepted",
            "duplicate",
        ]
        assert [(one.type, one.position) async for one in store.events()] == [
            ("rating", None),
            ("rating", None),
            ("purchase", 3),
            ("click", 1),
        ]

    run(f"sqlite:{path}", body)
    with closing(sqlite3.connect(path)) as old:  # which may be used again
        rows = old.execute("SELECT item_id, rating FROM events WHERE user_id = 'a' ORDER BY number").fetchall()
    assert rows[:2] == [("s1", 5.0), ("t1", 3.0)] and rows[2][1] == float("inf")
