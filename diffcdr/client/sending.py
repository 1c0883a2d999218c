"""What both clients share: settings, requests built from calls, and the rule for retries."""

from __future__ import annotations

import random
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import httpx2 as httpx

from diffcdr.client.calls import Call
from diffcdr.client.errors import ClientError, ServiceError, Unreachable

H = TypeVar("H", httpx.Client, httpx.AsyncClient)

TIMEOUT_SECONDS = 30.0


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


def draw_key() -> str:
    """A unique ``Idempotency-Key``."""
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Setup:
    """The address of the service and how to call it. The key is not in the ``repr``."""

    address: str
    api_key: str | None = field(default=None, repr=False)
    timeout: float = TIMEOUT_SECONDS
    retries: Retries = Retries()
    rng: random.Random = field(default_factory=random.Random, repr=False)
    draw_key: Callable[[], str] = field(default=draw_key, repr=False)

    def options(self) -> dict[str, Any]:
        """Arguments of httpx2's clients, which pool connections."""
        headers = {"x-api-key": self.api_key} if self.api_key else {}
        return {"base_url": self.address, "headers": headers, "timeout": self.timeout}

    def tries(self, *, repeatable: bool) -> Tries:
        """The attempts of one call; only a repeatable one has more than one."""
        return Tries(self.retries if repeatable else NO_RETRIES, self.rng)

    def request(self, call: Call[Any]) -> dict[str, Any]:
        """Arguments of ``httpx.Client.request`` besides method and address, the same for every attempt."""
        options: dict[str, Any] = {}
        if call.body is not None:
            options["json"] = dict(call.body)
        if call.parameters is not None:
            options["params"] = dict(call.parameters)
        if call.keyed:
            options["headers"] = {"idempotency-key": self.draw_key()}
        return options


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


class Connected(ABC, Generic[H]):
    """A client with its settings and its connections, which httpx2 pools."""

    def __init__(
        self,
        address: str,
        *,
        api_key: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        retries: Retries | None = None,
        rng: random.Random | None = None,
        draw_key: Callable[[], str] = draw_key,
    ) -> None:
        """``address``: such as ``http://127.0.0.1:8000``; ``timeout``: seconds without a byte; ``rng``: for waits.

        ``draw_key``: makes the ``Idempotency-Key`` of events and erasures, another each time.
        """
        self._setup = Setup(address, api_key, timeout, retries or Retries(), rng or random.Random(), draw_key)
        self._http: H = self._connect(self._setup.options())

    @abstractmethod
    def _connect(self, options: dict[str, Any]) -> H:
        """httpx2's client, made with ``options``."""
