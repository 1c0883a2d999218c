"""The hour in which each event was stored: one entry per hour for all events, so that an event needs no extra space."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

HOUR_SECONDS = 3600


def hour_of(time: float) -> int:
    """The beginning of the hour of ``time``, both in seconds since 1970."""
    return int(time // HOUR_SECONDS) * HOUR_SECONDS


class EventHours:
    """Finds the hour of an event by its number; numbers only grow."""

    def __init__(self, entries: Iterable[tuple[int, int]]) -> None:
        """``entries``: (number of the first event, beginning of the hour in seconds since 1970)."""
        self._entries = sorted(entries)
        self._firsts = [first for first, _ in self._entries]

    def of(self, number: int) -> int | None:
        """The beginning of the hour; None for an event from before hours were recorded."""
        place = bisect_right(self._firsts, number)
        return self._entries[place - 1][1] if place else None
