"""The rate limit: a token bucket per caller, in this process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

SWEEP_CALLERS = 1024
"""With more buckets than this, those that are full again are dropped; they stand for no caller any more."""


class RateLimited(Exception):
    """This caller exceeded the rate limit. ``retry_after``: whole seconds until the next request, at least 1."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"this caller has reached its rate limit; the next request is accepted in {retry_after} s")
        self.retry_after = retry_after


class Quota:
    """Allows each caller ``rate`` requests a second, with bursts of one second's worth.

    A bucket is kept as the moment at which it is full again (the generic cell rate algorithm): one number a caller,
    and nothing that has to tick.
    """

    def __init__(self, rate: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        """``rate``: requests a second, above 0; below 1 a bucket holds one. ``clock``: seconds, never backwards."""
        self._interval = 1.0 / rate
        self._depth = max(1.0, rate) * self._interval
        self._clock = clock
        self._full_at: dict[str, float] = {}
        self._sweep_above = SWEEP_CALLERS

    def __len__(self) -> int:
        """Callers remembered."""
        return len(self._full_at)

    def take(self, caller: str) -> None:
        """Count one request of ``caller``. Raises RateLimited, and counts nothing, where the bucket is empty."""
        now = self._clock()
        full_at = max(self._full_at.get(caller, now), now) + self._interval
        # Rounding must not take away the last of a bucket's requests.
        wait = full_at - now - self._depth * (1 + 1e-9)
        if wait > 0:
            raise RateLimited(max(1, math.ceil(wait)))
        self._full_at[caller] = full_at
        if len(self._full_at) > self._sweep_above:
            self._full_at = {caller: full_at for caller, full_at in self._full_at.items() if full_at > now}
            self._sweep_above = max(SWEEP_CALLERS, 2 * len(self._full_at))
