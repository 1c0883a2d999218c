"""Measures how long the event loop was blocked: no request is answered meanwhile, not even a probe."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

TICK_SECONDS = 0.005
"""A hold is told shorter than it was by up to this."""
WINDOW_SECONDS = 60.0
"""The longest hold is told for one to two of these."""


class LoopWatch:
    """Checks the clock at intervals; whatever delays a check has blocked the loop."""

    def __init__(
        self,
        tell: Callable[[float], object],
        tell_own: Callable[[float], object],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """What to call whenever it changes, with seconds of the last minute or two.

        Args:
            tell: takes the longest hold.
            tell_own: takes the longest processor time that the loop's own thread spent within a hold. It stays small
                where the machine is busy with other work, or another thread keeps the interpreter's lock.
            clock: of seconds.
        """
        self._longest = Longest(tell, clock)
        self._longest_own = Longest(tell_own, clock)
        self._clock = clock

    async def watch(self) -> None:
        """For ever."""
        while True:
            began, spent = self._clock(), time.thread_time()
            await asyncio.sleep(TICK_SECONDS)
            held = self._clock() - began - TICK_SECONDS
            self._longest.note(held)
            self._longest_own.note(min(held, time.thread_time() - spent))


class Longest:
    """The longest time of the last minute or two."""

    def __init__(self, tell: Callable[[float], object], clock: Callable[[], float]) -> None:
        self._tell = tell
        self._clock = clock
        self._told = -1.0
        self._window_end = clock() + WINDOW_SECONDS
        self._longest = self._before = 0.0

    def note(self, seconds: float) -> None:
        """Take ``seconds``, of just now, into account."""
        now = self._clock()
        if now >= self._window_end:
            self._window_end = now + WINDOW_SECONDS
            self._before, self._longest = self._longest, 0.0
        self._longest = max(self._longest, seconds)
        longest = max(self._longest, self._before)
        if longest != self._told:
            self._told = longest
            self._tell(longest)
