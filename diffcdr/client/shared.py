"""What both clients are made from: their settings, and requests from calls."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from diffcdr.client.questions import Call
from diffcdr.client.retries import NO_RETRIES, Retries

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
        """Arguments of httpx's clients, which keep connections and use them again."""
        headers = {"x-api-key": self.api_key} if self.api_key else {}
        return {"base_url": self.address, "headers": headers, "timeout": self.timeout}

    def retries_of(self, *, repeatable: bool) -> Retries:
        """How often a call is tried."""
        return self.retries if repeatable else NO_RETRIES

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
