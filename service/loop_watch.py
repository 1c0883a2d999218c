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

    def __init__(self, tell: Callable[[float], object], *, clock: Callable[[], float] = time.monotonic) -> None:
        """``tell`` takes the longest hold of the last minute or two, in seconds, whenever that changes."""
        self._tell = tell
        self._clock = clock
        self._told = -1.0
        self._window_end = clock() + WINDOW_SECONDS
        self._longest = self._before = 0.0

    async def watch(self) -> None:
        """For ever."""
        while True:
            began = self._clock()
            await asyncio.sleep(TICK_SECONDS)
            self.note(self._clock() - began - TICK_SECONDS)

    def note(self, held: float) -> None:
        """Record one check that came ``held`` seconds late."""
        now = self._clock()
        if now >= self._window_end:
            self._window_end = now + WINDOW_SECONDS
            self._before, self._longest = self._longest, 0.0
        self._longest = max(self._longest, held)
        longest = max(self._longest, self._before)
        if longest != self._told:
            self._told = longest
            self._tell(longest)
