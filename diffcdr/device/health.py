"""Failures of a GPU, temporary or permanent, and the listeners for them."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Literal

logger = logging.getLogger(__name__)

Failure = Literal["memory", "lost"]
"""``memory``: no room for this batch. ``lost``: the GPU, or what the driver keeps for this process, is gone."""
FAILURES: tuple[Failure, ...] = ("memory", "lost")
_OF_MEMORY = ("out of memory", "failed to allocate memory", "alloc_failed", "cuda failure 2:", "memory allocation")


def kind_of(error: Exception) -> Failure:
    """The kind of failure that ``error``, raised by a computation that had worked before, stands for."""
    text = str(error).lower()
    return "memory" if any(part in text for part in _OF_MEMORY) else "lost"


class DeviceHealth:
    """Failures of one recommender's GPU; threads may share it. A lost GPU is not used again by this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[Failure] = Counter()
        self._listeners: list[Callable[[Failure], None]] = []
        self._lost: str | None = None

    @property
    def lost(self) -> str | None:
        """The error with which the GPU was lost; None while it works."""
        return self._lost

    def count(self, kind: Failure) -> int:
        """Number of batches that failed in this way."""
        return self._counts[kind]

    def listen(self, listener: Callable[[Failure], None]) -> None:
        """Call ``listener`` for every failure, past ones included, on the thread where it happens."""
        with self._lock:
            self._listeners.append(listener)
            for kind in self._counts.elements():
                listener(kind)

    def failed(self, error: Exception) -> None:
        """Note that a batch could not be computed, because of ``error``; it is computed on the CPU instead."""
        kind = kind_of(error)
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        with self._lock:
            first = self._counts[kind] == 0
            self._counts[kind] += 1
            if kind == "lost":
                self._lost = reason
            for listener in self._listeners:
                listener(kind)
        if kind == "lost":
            logger.error("the GPU was lost; computing on the CPU until a restart: %s", reason)
        elif first:
            logger.warning("no memory on the GPU for a batch, computed on the CPU; reduce what shares it: %s", reason)
