"""Bench ``events``: what the state's SQLite file takes, in batches of 1,000, for each second of one processor core.

The reference is the rate that was asked for. By processor time: what a disk needs to sync is the disk's affair.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.harness import Row, Size
from service.feedback.recommendation_ids import ID_CHARACTERS
from service.state.events.kinds import Event, Trial
from service.state.sqlite import SqliteStore

NAME = "events"
BATCH, LEAST = 1_000, 20_000
DAY_SECONDS = 86_400.0
TRIAL = Trial("0a0b0c0d0e0f", "canary", 10.0, "ab" * 8)


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
        sent = [_events(kind, first=number * BATCH, users=users) for number in range(batches)]
        seconds = asyncio.run(_send(path, sent))
        bytes_each = path.stat().st_size / (batches * BATCH)
    rate = batches * BATCH / seconds
    case = f"{kind} of {users:,} users, {bytes_each:.0f} bytes each"
    return Row(NAME, case, rate, LEAST, rate / LEAST, 1.0, "events/s")


async def _send(path: Path, batches: list[list[Event]]) -> float:
    store = SqliteStore(path)
    began = time.process_time()
    for events in batches:
        await store.add_events(events, keep_seconds=DAY_SECONDS)
    seconds = time.process_time() - began
    await store.close()
    return seconds


def _events(kind: str, *, first: int, users: int) -> list[Event]:
    numbers = range(first, first + BATCH)
    if kind == "ratings":
        return [Event(f"e{n}", f"u{n % users}", f"t{n % 977}", 4.0, "target") for n in numbers]
    return [
        Event(
            f"e{n}",
            f"u{n % users}",
            f"t{n % 977}",
            None,
            "target",
            type="impression",
            recommendation_id="R" * ID_CHARACTERS,
            position=n % 20 + 1,
            liked=False,
            trial=TRIAL,
            counter="impressions",
        )
        for n in numbers
    ]
