"""Limits how many requests are in flight. Those beyond the limit are refused before their body is read.

The event loop of a process handles a fixed number of requests a second. More of them in flight would only make all of
them late. So the number is held at the limit under lasting overload, and a burst may exceed it for a moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable

BURST = 4
"""A burst may have this many times the limit in flight."""
BURST_SECONDS = 0.1
"""For so long after the limit was first reached."""
REST_SECONDS = 1.0
"""The next burst is let through once the limit was not reached for so long."""

REFUSALS_A_SECOND = 6000
"""More refusals would take more than about a quarter of an event loop's time, on a core of its own."""
LEAST_REFUSALS_A_SECOND = 250
REFUSALS_AN_ANSWER = 2.5
"""A refusal costs a tenth of an answer. So on a share of a core, too, most of the time is left for answers. At twice
the load that a core answers there are fewer, so that callers who all come once are never held up."""
WINDOW_SECONDS = 0.25
"""How often the pace follows the answers."""
SLACK_SECONDS = 0.1
"""So much of a burst is refused without pauses."""
LONGEST_PAUSE_SECONDS = 1.0
"""At least as long as Retry-After tells a refused caller to wait."""


class Pace:
    """How long a refused connection is not read, so that callers who retry at once cannot take all the time.

    A refusal costs little, but callers that do not wait return as fast as they are refused. While there is anybody to
    refuse, there are at most so many refusals for each answer. Use it on one event loop.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock``: seconds, never backwards."""
        self._clock = clock
        self._due = 0.0
        self._rate: float = REFUSALS_A_SECOND
        self._answers = 0
        self._since = self._last = -float("inf")

    def answered(self) -> None:
        """Count one answer."""
        self._answers += 1

    def pause(self) -> float:
        """Count one refusal; returns the seconds for which that connection is not read."""
        now = self._clock()
        self._follow(now)
        self._due = max(self._due, now) + 1 / self._rate
        wait = self._due - now - SLACK_SECONDS
        if wait > LONGEST_PAUSE_SECONDS:
            self._due = now + LONGEST_PAUSE_SECONDS + SLACK_SECONDS
        return min(max(wait, 0.0), LONGEST_PAUSE_SECONDS)

    def _follow(self, now: float) -> None:
        """Set the rate: the highest at first, then by the answers of the last window."""
        rested, self._last = now - self._last > REST_SECONDS, now
        if not rested and now - self._since < WINDOW_SECONDS:
            return
        rate = REFUSALS_A_SECOND if rested else REFUSALS_AN_ANSWER * self._answers / (now - self._since)
        self._rate = min(max(rate, LEAST_REFUSALS_A_SECOND), REFUSALS_A_SECOND)
        self._since, self._answers = now, 0


class Gate:
    """Counts requests in flight. Use it on one event loop."""

    def __init__(
        self,
        limit: int,
        *,
        retry_after: Callable[[], int],
        burst: int = BURST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``limit``: requests in flight at a time, at least 1; for a moment ``burst`` times as many.

        ``retry_after``: whole seconds after which others should retry. ``clock``: seconds, never backwards.
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
        """Requests that were admitted and not yet answered."""
        return self._in_work

    def enter(self) -> bool:
        """Admit one more request if there is room; it counts until :meth:`leave`."""
        if self._in_work >= self._limit and not self._burst():
            return False
        self._in_work += 1
        return True

    @property
    def full(self) -> bool:
        """Whether there is no room now."""
        return self._in_work >= self._limit and not self._burst()

    def leave(self) -> None:
        """An admitted request was answered, or its client has left."""
        self._in_work -= 1

    def _burst(self) -> bool:
        now = self._clock()
        if now - self._last_full > REST_SECONDS:
            self._full_since = now
        self._last_full = now
        return now - self._full_since <= BURST_SECONDS and self._in_work < self._burst_limit
