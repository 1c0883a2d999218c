"""What both clients are made from: their settings, requests from calls, and when a call is tried again."""

from __future__ import annotations

import random
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import httpx2 as httpx

from diffcdr.client.questions import Call
from diffcdr.client.retries import NO_RETRIES, Retries, failure

H = TypeVar("H", httpx.Client, httpx.AsyncClient)

TIMEOUT_SECONDS = 30.0


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
