"""The longest hold of the loop is told while it is news, and no longer."""

from __future__ import annotations

import asyncio

from service.loop_watch import WINDOW_SECONDS, LoopWatch
from tests.waiting import async_elapse, elapse


def test_the_longest_hold_is_told_for_one_to_two_windows() -> None:
    now, told = [0.0], list[float]()
    watch = LoopWatch(told.append, clock=lambda: now[0])
    for held in (0.1, 0.7, 0.3):
        watch.note(held)
    assert told == [0.1, 0.7]
    now[0] = WINDOW_SECONDS
    watch.note(0.2)
    assert told[-1] == 0.7
    now[0] = 2 * WINDOW_SECONDS
    watch.note(0.0)
    assert told[-1] == 0.2


def test_a_loop_that_is_held_is_noticed() -> None:
    told: list[float] = []

    async def hold() -> None:
        task = asyncio.create_task(LoopWatch(told.append).watch())
        await async_elapse(0.02)
        elapse(0.2)
        await async_elapse(0.02)
        task.cancel()

    asyncio.run(hold())
    assert max(told) >= 0.18
