"""What both clients are made from: their settings, requests from calls, and when a call is tried again."""

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
    """Calls that change nothing when repeated are made up to ``attempts`` times in all.

    Between them lies what ``Retry-After`` asks for and up to a quarter more, so that callers sent away together do
    not come back together; without it, a random part of ``first_wait`` seconds, twice as much each time. A wait of
    more than ``longest_wait`` seconds is left to the caller.
    """

    attempts: int = 3
    first_wait: float = 0.1
    longest_wait: float = 5.0

    def wait(self, error: ClientError, *, attempt: int, rng: random.Random) -> float | None:
        """Seconds until the next try after the failed ``attempt`` (from 1), or None where there is to be none."""
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
    """What a broken connection or a refusing answer, read whole, is raised as."""
    return ServiceError.read(cause) if isinstance(cause, httpx.Response) else Unreachable(cause)


def draw_key() -> str:
    """An ``Idempotency-Key`` that no other request has, in whatever process."""
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Setup:
    """Where the service is and how to ask it. The key is in no ``repr``."""

    address: str
    api_key: str | None = field(default=None, repr=False)
    timeout: float = TIMEOUT_SECONDS
    retries: Retries = Retries()
    rng: random.Random = field(default_factory=random.Random, repr=False)
    draw_key: Callable[[], str] = field(default=draw_key, repr=False)

    def options(self) -> dict[str, Any]:
        """Arguments of httpx2's clients, which keep connections and use them again."""
        headers = {"x-api-key": self.api_key} if self.api_key else {}
        return {"base_url": self.address, "headers": headers, "timeout": self.timeout}

    def tries(self, *, repeatable: bool) -> Tries:
        """The tries of one call, of which only a repeatable one has more than the first."""
        return Tries(self.retries if repeatable else NO_RETRIES, self.rng)

    def request(self, call: Call[Any]) -> dict[str, Any]:
        """Arguments of ``httpx.Client.request`` beside method and address; every try of a call gets the same."""
        options: dict[str, Any] = {}
        if call.body is not None:
            options["json"] = dict(call.body)
        if call.parameters is not None:
            options["params"] = dict(call.parameters)
        if call.keyed:
            options["headers"] = {"idempotency-key": self.draw_key()}
        return options


class Tries:
    """The tries of one call so far."""

    def __init__(self, retries: Retries, rng: random.Random) -> None:
        self._retries = retries
        self._rng = rng
        self._failed = 0

    def wait(self, cause: httpx.TransportError | httpx.Response) -> float:
        """Seconds until the next try, after one that ended in ``cause``: a refusing answer, read whole, or none.

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
    """A client with its settings and its connections, which httpx2 keeps and uses again."""

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
