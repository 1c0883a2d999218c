"""Waiting for what has to come, however busy the machine is: tests wait for things, never for a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

LIMIT_SECONDS = 60.0
"""How long a crowded machine may need for what takes an idle one a moment. Only a test that fails waits this long."""
LOOK_SECONDS = 0.01

T = TypeVar("T")


def until(
    look: Callable[[], T],
    *,
    why: Callable[[], object] = lambda: "",
    while_raising: tuple[type[Exception], ...] = (),
) -> T:
    """What ``look`` returns, once it is true; an assertion fails, with what ``why`` says, where it never is.

    ``while_raising``: what ``look`` may raise until then; the last of it is raised where it never stops.
    """
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        late = time.monotonic() >= deadline
        try:
            if found := look():
                return found
        except while_raising:
            if late:
                raise
        assert not late, why()
        time.sleep(LOOK_SECONDS)


async def async_until(look: Callable[[], T] | Callable[[], Awaitable[T]]) -> T:
    """As :func:`until`, on an event loop; ``look`` may be asynchronous."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        found = look()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline
        await asyncio.sleep(LOOK_SECONDS / 10)


async def turns(count: int = 100) -> None:
    """Let everything run on the event loop that can."""
    for _ in range(count):
        await asyncio.sleep(0)


def elapse(seconds: float) -> None:
    """Let time itself pass: the pace of a caller or an engine. To wait for something there is :func:`until`."""
    time.sleep(seconds)


async def async_elapse(seconds: float) -> None:
    """As :func:`elapse`, on an event loop."""
    await asyncio.sleep(seconds)
