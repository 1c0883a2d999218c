from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from service.state import suppression as guard_module
from service.state.opening import NowhereStore
from service.state.store import Changes, StateUnavailable, Version
from service.state.suppression import Guard
from tests.waiting import LIMIT_SECONDS, async_until, turns


class Memory(NowhereStore):
    """A store in a dictionary that can be held up, away, or replaced."""

    def __init__(self) -> None:
        super().__init__("away")
        self.identity = "one"
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
        version = Version(self.identity, len(self.log))
        await self.open.wait()
        if self.away:
            raise StateUnavailable("away")
        return version

    async def changes(self, after: int) -> Changes:
        return Changes(len(self.log), dict(self.log[after:]))


def run(body: Callable[[Guard, Memory], Awaitable[None]]) -> None:
    async def main() -> None:
        store = Memory()
        await asyncio.wait_for(body(Guard(store), store), LIMIT_SECONDS)

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


def test_while_the_store_is_away_the_copy_counts_but_not_for_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(guard: Guard, store: Memory) -> None:
        await store.set_opt_out("a", True)
        await guard.refresh()
        store.away = True
        for _ in range(3):
            await guard.refresh()
        assert (guard.healthy, guard.allows("a"), guard.allows("b")) == (False, False, True)
        assert len(caplog.records) == 1, "said once"
        monkeypatch.setattr(guard_module, "COPY_SECONDS", -1.0)
        assert not guard.allows("b")
        assert not guard.allows(None)
        monkeypatch.setattr(guard_module, "COPY_SECONDS", 60.0)
        store.away = False
        await guard.refresh()
        assert (guard.healthy, guard.allows("b")) == (True, True)

    with caplog.at_level(logging.WARNING):
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
