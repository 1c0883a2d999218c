from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from service.state.opening import NowhereStore
from service.state.store import Changes, StateBroken, StateUnavailable, Version
from service.state.suppression import Guard
from tests.waiting import LIMIT_SECONDS, async_until, turns


class Memory(NowhereStore):
    """A store in a dictionary that can be held up, away, or replaced."""

    def __init__(self) -> None:
        super().__init__("away")
        self.identity, self.epoch = "one", "first"
        self.fault: Exception | None = None
        self.changes_away = False
        self.log: list[tuple[str, bool]] = []
        self.away = False
        self.asked = 0
        self.open = asyncio.Event()
        self.open.set()

    async def set_opt_out(self, user_id: str, opted_out: bool) -> None:
        self.log.append((user_id, opted_out))

    async def version(self) -> Version:
        self.asked += 1
        # What is known when the question arrives is what is answered, however long that takes.
        version = Version(self.identity, len(self.log), self.epoch)
        await self.open.wait()
        if self.fault is not None:
            raise self.fault
        if self.away:
            raise StateUnavailable("away")
        return version

    async def changes(self, after: int) -> Changes:
        if self.changes_away:
            raise StateUnavailable("away")
        return Changes(len(self.log), dict(self.log[after:]))


def run(body: Callable[[Guard, Memory], Awaitable[None]]) -> None:
    async def main() -> None:
        store = Memory()
        await asyncio.wait_for(body(Guard(store, patience_seconds=2.0), store), LIMIT_SECONDS)

    asyncio.run(main())


def test_it_follows_the_store() -> None:
    async def body(guard: Guard, store: Memory) -> None:
        for opted_out in (True, False, True):
            await store.set_opt_out("a", opted_out)
            await guard.refresh()
            assert guard.allows("a") is not opted_out
            assert guard.allows("b")
            assert guard.allows(None)

    run(body)


def test_before_the_first_word_from_the_store_nobody_is_personalised() -> None:
    async def body(guard: Guard, store: Memory) -> None:
        assert not guard.allows("a")
        assert not guard.allows(None)

    run(body)


def test_an_opt_out_holds_for_every_check_that_begins_after_it() -> None:
    async def body(guard: Guard, store: Memory) -> None:
        store.open.clear()
        early = asyncio.create_task(guard.refresh())
        await async_until(lambda: store.asked == 1)
        # The running check has asked already and will not see this.
        await store.set_opt_out("a", True)
        later = asyncio.create_task(guard.refresh())
        await turns()
        store.open.set()
        await later
        assert not guard.allows("a")
        await early

    run(body)


def test_many_who_ask_at_once_share_a_check() -> None:
    async def body(guard: Guard, store: Memory) -> None:
        store.open.clear()
        checks = asyncio.gather(*(guard.refresh() for _ in range(500)))
        await async_until(lambda: store.asked)
        await turns()
        store.open.set()
        await checks
        assert store.asked <= 2

    run(body)


def test_a_caller_that_gives_up_does_not_stop_the_others() -> None:
    async def body(guard: Guard, store: Memory) -> None:
        store.open.clear()
        first, second = (asyncio.create_task(guard.refresh()) for _ in range(2))
        await async_until(lambda: store.asked)
        first.cancel()
        await turns()
        store.open.set()
        await second
        assert guard.allows("a")

    run(body)


def test_while_the_store_is_away_nobody_is_personalised_unless_an_old_copy_may_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def body(guard: Guard, store: Memory) -> None:
        lenient = Guard(store, copy_seconds=0.1)
        await store.set_opt_out("a", True)
        assert await guard.refresh()
        assert await lenient.refresh()
        store.away = True
        for _ in range(3):
            assert not await guard.refresh()
        assert len(caplog.records) == 1, "said once"
        assert await lenient.refresh()
        assert [guard.healthy, guard.allows("b"), guard.allows(None)] == [False] * 3
        assert (lenient.healthy, lenient.allows("a"), lenient.allows("b")) == (False, False, True)
        await async_until(lambda: not lenient.allows("b"))
        assert not await lenient.refresh()
        assert not lenient.allows("b")
        store.away = False
        for each in (guard, lenient):
            assert await each.refresh()
            assert (each.healthy, each.allows("b")) == (True, True)

    with caplog.at_level(logging.WARNING):
        run(body)


@pytest.mark.parametrize("copy_seconds", [0.0, 60.0])
def test_what_is_known_to_lack_something_is_not_used_however_young(copy_seconds: float) -> None:
    async def body(_: Guard, store: Memory) -> None:
        guard = Guard(store, copy_seconds=copy_seconds)
        assert await guard.refresh()
        for fault in (StateBroken("damaged"), ValueError("no number")):
            store.fault = fault
            assert not await guard.refresh()
            assert not guard.allows("b")
            store.fault = None
            assert await guard.refresh()
        # It has changed, and what changed cannot be read.
        await store.set_opt_out("a", True)
        store.changes_away = True
        assert not await guard.refresh()
        assert not guard.allows("b")

    run(body)


def test_a_store_that_hangs_is_not_waited_for_by_one_after_another() -> None:
    async def body(_: Guard, store: Memory) -> None:
        guard = Guard(store, patience_seconds=1.0)
        assert await guard.refresh()
        clock = asyncio.get_running_loop().time
        store.open.clear()
        began = clock()
        assert not await guard.refresh()
        assert clock() - began >= 1.0
        began = clock()
        for _ in range(40):
            assert not await guard.refresh()
        assert clock() - began < 20, "its patience with each would take 40 s"
        patient = Guard(store, patience_seconds=LIMIT_SECONDS)
        assert not await patient.refresh(within=0.001)

    run(body)


def test_one_who_cannot_wait_is_not_told_by_the_check_before() -> None:
    async def body(guard: Guard, store: Memory) -> None:
        assert await guard.refresh()
        asked = store.asked
        store.open.clear()
        early = asyncio.create_task(guard.refresh())
        await async_until(lambda: store.asked > asked)
        # The running check has asked already, and will not see this; the next one begins too late to wait for.
        await store.set_opt_out("a", True)
        assert not await guard.refresh()
        assert not guard.allows("a")
        store.open.set()
        await early

    run(body)


def test_a_rollback_that_is_written_over_is_noticed_by_the_epoch() -> None:
    async def body(guard: Guard, store: Memory) -> None:
        for user in ("a", "b", "c"):
            await store.set_opt_out(user, True)
        assert await guard.refresh()
        # Restarted with an old copy, and written to until the numbers are as before.
        store.log, store.epoch = [("a", True), ("x", True), ("y", True)], "second"
        assert await guard.refresh()
        assert not any(guard.allows(user) for user in ("a", "b", "c", "x", "y"))
        store.log += [("c", False)]
        assert await guard.refresh()
        assert guard.allows("c"), "a wish that came after everything known here"

    run(body)


def test_a_store_that_lost_its_memory_undoes_no_opt_out(caplog: pytest.LogCaptureFixture) -> None:
    async def body(guard: Guard, store: Memory) -> None:
        await store.set_opt_out("a", True)
        await guard.refresh()
        store.log.clear()
        store.identity = "two"
        await store.set_opt_out("b", True)
        await guard.refresh()
        assert not guard.allows("a")
        assert not guard.allows("b")
        assert "lost or replaced" in caplog.text

    run(body)


def test_caches_are_told_once_of_each_who_becomes_suppressed() -> None:
    """And not of everybody again after each restart of the store."""

    async def main() -> None:
        told, store = list[str](), Memory()
        guard = Guard(store, on_suppressed=told.append, patience_seconds=LIMIT_SECONDS)
        store.log = [("a", True), ("b", True)]
        assert await guard.refresh()
        assert sorted(told) == ["a", "b"]
        store.log, store.epoch = [*store.log, ("c", True)], "second"
        assert await guard.refresh()
        store.log = [*store.log, ("a", False), ("a", True)]
        assert await guard.refresh()
        assert sorted(told) == ["a", "b", "c"]
        assert not any(map(guard.allows, "abc"))
        store.log = [*store.log, ("b", False)]
        assert await guard.refresh()
        store.log = [*store.log, ("b", True)]
        assert await guard.refresh()
        assert sorted(told) == ["a", "b", "b", "c"]

    asyncio.run(main())
