"""The longest hold of the loop is told while it is news, and no longer."""

from __future__ import annotations

import asyncio
import time

import pytest

from service.loop_watch import WINDOW_SECONDS, Longest, LoopWatch
from tests.waiting import async_elapse, elapse


def test_the_longest_is_told_for_one_to_two_windows() -> None:
    now, told = [0.0], list[float]()
    longest = Longest(told.append, lambda: now[0])
    for held in (0.1, 0.7, 0.3):
        longest.note(held)
    assert told == [0.1, 0.7]
    now[0] = WINDOW_SECONDS
    longest.note(0.2)
    assert told[-1] == 0.7
    now[0] = 2 * WINDOW_SECONDS
    longest.note(0.0)
    assert told[-1] == 0.2


@pytest.mark.parametrize("works", [True, False])
def test_a_loop_that_is_held_is_noticed_and_whether_it_worked_itself(works: bool) -> None:
    held, own = list[float](), list[float]()

    def work() -> None:
        began = time.thread_time()
        while time.thread_time() < began + 0.2:
            sum(range(100))

    async def hold() -> None:
        task = asyncio.create_task(LoopWatch(held.append, own.append).watch())
        await async_elapse(0.02)
        work() if works else elapse(0.2)
        await async_elapse(0.02)
        task.cancel()

    asyncio.run(hold())
    assert max(held) >= 0.18
    assert (max(own) >= 0.18) == works
