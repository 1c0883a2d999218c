"""Bench ``events``: what the state's SQLite file takes, in batches of 1,000, for each second of one processor core.

The reference is the rate that was asked for. By processor time: what a disk needs to sync is the disk's affair.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.harness import Row, Size

NAME = "events"
BATCH, LEAST = 1_000, 20_000


def bench(size: Size) -> Iterator[Row]:
    """Ratings, and impressions that count for a comparison; few users with many events each, and many with few."""
    batches = 50 if size == "full" else 4
    for users in (100, 5_000):
        yield taken("ratings", batches=batches, users=users)
        yield taken("impressions of an experiment", batches=batches, users=users)


def taken(kind: str, *, batches: int, users: int) -> Row:
    """``batches`` of events into an empty file, and how large it is then."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.sqlite"
        # Comes with the service, which training can do without.
        store = importlib.import_module("bench.serving.event_store")
        seconds = store.store_events(path, kind, batches=batches, batch=BATCH, users=users)
        bytes_each = path.stat().st_size / (batches * BATCH)
    rate = batches * BATCH / seconds
    case = f"{kind} of {users:,} users, {bytes_each:.0f} bytes each"
    return Row(NAME, case, rate, LEAST, rate / LEAST, 1.0, "events/s")
