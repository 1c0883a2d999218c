"""What both clients share: settings, connections, and requests built from calls."""

from __future__ import annotations

import random
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import httpx2 as httpx

from diffcdr.client.calls import Call
from diffcdr.client.retries import NO_RETRIES, Retries, Tries

H = TypeVar("H", httpx.Client, httpx.AsyncClient)

TIMEOUT_SECONDS = 30.0


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
