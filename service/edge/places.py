"""Places for requests in work: reads, writes and what is large have their own, so that none takes another's."""

from __future__ import annotations

from collections.abc import Callable

from service.edge.auth import required_scope
from service.edge.in_flight import Gate, Pace
from service.settings import Settings

BATCH = "/v1/recommendations/batch"
"""Where bodies of any size are answered while they arrive."""


class Places:
    """The gates of one process, and which of them a request goes through."""

    def __init__(self, settings: Settings, *, retry_after: Callable[[], int]) -> None:
        """``retry_after``: whole seconds until those who find no place should come again."""
        self.retry_after = retry_after
        self.pace = Pace()
        self.reads = Gate(settings.max_in_flight, retry_after=retry_after)
        self.writes = Gate(settings.max_writes_in_flight, retry_after=retry_after)
        self.bulk = Gate(settings.max_bulk_in_flight, retry_after=retry_after, burst=1)

    def gate(self, method: str, path: str, *, large: bool = False) -> Gate | None:
        """The gate for a request; None for what always comes in: probes, documents, administration."""
        scope = required_scope(method, path)
        if scope is None or scope == "admin":
            # Whoever looks after the service has to reach it above all when it is overloaded.
            return None
        if large or path == BATCH:
            return self.bulk
        return self.reads if scope == "read" else self.writes
