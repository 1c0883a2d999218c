"""How long the event loop was held: nobody is answered meanwhile, probes neither."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

TICK_SECONDS = 0.005
"""A hold is told shorter than it was by up to this."""
WINDOW_SECONDS = 60.0
"""The longest hold is told for one to two of these."""


class LoopWatch:
    """Looks at the clock again and again; whatever comes between two looks has held the loop."""

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
        """Take one look, that was ``held`` seconds late."""
        now = self._clock()
        if now >= self._window_end:
            self._window_end = now + WINDOW_SECONDS
            self._before, self._longest = self._longest, 0.0
        self._longest = max(self._longest, held)
        longest = max(self._longest, self._before)
        if longest != self._told:
            self._told = longest
            self._tell(longest)
