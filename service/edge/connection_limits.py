"""Time limits of a connection, and the number of connections."""

from __future__ import annotations

import contextlib
import resource
from dataclasses import dataclass

SPARE_DESCRIPTORS = 64
"""Files and sockets that are no clients' connections, and some more."""


@dataclass(frozen=True)
class Limits:
    """Of each connection, in seconds and bytes a second; and how many there may be."""

    keep_alive: float
    head: float
    body_rate: int
    connections: int


def most_connections(wanted: int) -> int:
    """``wanted``, but no more than there are descriptors for, of which this takes as many as the process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and soft < hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    possible = soft - min(SPARE_DESCRIPTORS, soft // 2)
    return min(wanted, possible) if wanted else possible
