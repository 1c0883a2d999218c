"""What a state's SQLite file does with batches of events. Needs the extra ``serve``."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from service.feedback.recommendation_ids import ID_CHARACTERS
from service.state.events.kinds import Event, Trial
from service.state.sqlite import SqliteStore

DAY_SECONDS = 86_400.0
TRIAL = Trial("0a0b0c0d0e0f", "canary", 10.0, "ab" * 8)


def store_events(path: Path, kind: str, *, batches: int, batch: int, users: int) -> float:
    """Add ``batches`` of ``batch`` events to the new file ``path``; the processor's seconds that took."""
    return asyncio.run(
        _send(path, [_events(kind, first=number * batch, batch=batch, users=users) for number in range(batches)])
    )


async def _send(path: Path, batches: list[list[Event]]) -> float:
    store = SqliteStore(path)
    began = time.process_time()
    for events in batches:
        await store.add_events(events, keep_seconds=DAY_SECONDS)
    seconds = time.process_time() - began
    await store.close()
    return seconds


def _events(kind: str, *, first: int, batch: int, users: int) -> list[Event]:
    numbers = range(first, first + batch)
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
