"""Concurrency limits: reads, writes and bulk requests each have their own, so that none crowds out another."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

from service.edge.auth import required_scope
from service.edge.in_flight import Gate, Pace
from service.settings import Settings

PLACE = "place"
"""In the state of a request: the gate that it came through."""
BATCH = "/v1/recommendations/batch"
"""The route that answers bodies of any size while they arrive."""


class Places:
    """The gates of one process, and the choice of the gate for a request."""

    def __init__(self, settings: Settings, *, retry_after: Callable[[], int]) -> None:
        """``retry_after``: whole seconds after which refused callers should retry."""
        self.retry_after = retry_after
        self.pace = Pace()
        self.reads = Gate(settings.max_in_flight, retry_after=retry_after)
        self.writes = Gate(settings.max_writes_in_flight, retry_after=retry_after)
        self.bulk = Gate(settings.max_bulk_in_flight, retry_after=retry_after, burst=1)

    def take(self, state: MutableMapping[str, Any], method: str, path: str, *, large: bool = False) -> bool:
        """Take a place for a request, noted in its ``state``; False where there is none left.

        Asked twice for one request, it takes one place: the connection asks as soon as the head is there, and the
        middleware asks once the address has been decoded, which may be what tells that it needs one.
        """
        if PLACE in state:
            return True
        gate = self.gate(method, path, large=large)
        if gate is None:
            return True
        if not gate.enter():
            return False
        state[PLACE] = gate
        return True

    def give_back(self, state: MutableMapping[str, Any]) -> None:
        """The request of ``state`` is answered, or its client has left."""
        gate: Gate | None = state.pop(PLACE, None)
        if gate is not None:
            gate.leave()
            self.pace.answered()

    def gate(self, method: str, path: str, *, large: bool = False) -> Gate | None:
        """The gate for a request; None for what is always admitted: probes, documents, administration."""
        scope = required_scope(method, path)
        if scope is None or scope == "admin":
            # Operators must reach the service above all when it is overloaded.
            return None
        if large or path == BATCH:
            return self.bulk
        return self.reads if scope == "read" else self.writes
