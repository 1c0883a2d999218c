"""How many requests may be in work at a time: those beyond are refused before anything is read of them.

The event loop of a process works off a fixed number of requests a second. More of them in work only makes all of
them late, so under lasting overload the number is held at the limit; a burst may go beyond it for a moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable

BURST = 4
"""A burst may have this many times the limit in work."""
BURST_SECONDS = 0.1
"""For so long after the limit was first reached."""
REST_SECONDS = 1.0
"""The next burst is let through once the limit was not reached for so long."""

REFUSALS_A_SECOND = 6000
"""More refusals than these would take more than about a quarter of an event loop's time."""
REFUSALS_AT_ONCE = 600
LONGEST_PAUSE_SECONDS = 1.0
"""As long as who was refused is told to stay away, at the least."""


class Pace:
    """How long those who were refused are not listened to, so that who comes again at once cannot take all the time.

    Refusing costs little, but callers that do not wait come as often as they are refused. Use it on one event loop.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock``: seconds, never backwards."""
        self._clock = clock
        self._due = 0.0

    def pause(self) -> float:
        """Count one refusal; seconds for which nothing more is to be read of that caller."""
        now = self._clock()
        self._due = max(self._due, now) + 1 / REFUSALS_A_SECOND
        wait = self._due - now - REFUSALS_AT_ONCE / REFUSALS_A_SECOND
        if wait > LONGEST_PAUSE_SECONDS:
            self._due = now + LONGEST_PAUSE_SECONDS + REFUSALS_AT_ONCE / REFUSALS_A_SECOND
        return min(max(wait, 0.0), LONGEST_PAUSE_SECONDS)


class Gate:
    """Counts requests in work; use it on one event loop."""

    def __init__(
        self,
        limit: int,
        *,
        retry_after: Callable[[], int],
        burst: int = BURST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``limit``: requests in work at a time, at least 1; for a moment ``burst`` times as many.

        ``retry_after``: whole seconds until others should come again. ``clock``: seconds, never backwards.
        """
        self._burst_limit = burst * limit
        self.retry_after = retry_after
        self._limit = limit
        self._clock = clock
        self._in_work = 0
        self._full_since = -float("inf")
        self._last_full = -float("inf")

    @property
    def in_work(self) -> int:
        """Requests let in and not yet answered."""
        return self._in_work

    def enter(self) -> bool:
        """Whether one more may come in; if so it is counted until :meth:`leave`."""
        if self._in_work >= self._limit and not self._burst():
            return False
        self._in_work += 1
        return True

    @property
    def full(self) -> bool:
        """Whether nobody else may come in now."""
        return self._in_work >= self._limit and not self._burst()

    def leave(self) -> None:
        """One that came in is answered, or its client has left."""
        self._in_work -= 1

    def _burst(self) -> bool:
        now = self._clock()
        if now - self._last_full > REST_SECONDS:
            self._full_since = now
        self._last_full = now
        return now - self._full_since <= BURST_SECONDS and self._in_work < self._burst_limit
