"""Retries: which calls are tried again, and how long to wait in between."""

from __future__ import annotations

import random
from dataclasses import dataclass

import httpx2 as httpx

from diffcdr.client.errors import ClientError, ServiceError, Unreachable

AGAIN = frozenset({429, 502, 503})
"""Statuses of answers that may be better next time: over the quota, no replica behind the proxy, full."""


@dataclass(frozen=True)
class Retries:
    """Calls that are safe to repeat are tried up to ``attempts`` times in all.

    Between them lies what ``Retry-After`` asks for and up to a quarter more, so that callers sent away together do
    not come back together; without it, a random part of ``first_wait`` seconds, twice as much each time. A wait of
    more than ``longest_wait`` seconds is left to the caller.
    """

    attempts: int = 3
    first_wait: float = 0.1
    longest_wait: float = 5.0

    def wait(self, error: ClientError, *, attempt: int, rng: random.Random) -> float | None:
        """Seconds until the next attempt after the failed ``attempt`` (from 1); None for no more."""
        if attempt >= self.attempts:
            return None
        asked = None
        if isinstance(error, ServiceError):
            if error.status not in AGAIN:
                return None
            asked = error.retry_after
        if asked is None:
            return rng.uniform(0.0, min(self.first_wait * 2.0 ** (attempt - 1), self.longest_wait))
        return asked * (1.0 + rng.uniform(0.0, 0.25)) if asked <= self.longest_wait else None


NO_RETRIES = Retries(attempts=1)


def failure(cause: httpx.TransportError | httpx.Response) -> ClientError:
    """The error for a broken connection or an error response, which has been read whole."""
    return ServiceError.read(cause) if isinstance(cause, httpx.Response) else Unreachable(cause)


class Tries:
    """The attempts of one call."""

    def __init__(self, retries: Retries, rng: random.Random) -> None:
        self._retries = retries
        self._rng = rng
        self._failed = 0

    def wait(self, cause: httpx.TransportError | httpx.Response) -> float:
        """Seconds until the next attempt after ``cause``: an error response, read whole, or no response.

        Raises:
            ServiceError, Unreachable: there is to be no other try.
        """
        self._failed += 1
        error = failure(cause)
        seconds = self._retries.wait(error, attempt=self._failed, rng=self._rng)
        if seconds is None:
            raise error
        return seconds
