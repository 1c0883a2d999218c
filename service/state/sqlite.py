"""State in one SQLite file, shared by the processes of one machine."""

from __future__ import annotations

import asyncio
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from service.state.store import (
    MAX_EVENTS_PER_USER,
    Changes,
    Claim,
    Domain,
    Erasure,
    Event,
    History,
    Outcome,
    StateUnavailable,
    Version,
)

T = TypeVar("T")

WAIT_SECONDS = 2.0
"""How long a write waits for another process's."""

_SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS people (
    user_id TEXT PRIMARY KEY,
    opted_out INTEGER NOT NULL DEFAULT 0,
    receipt TEXT,
    erased_at TEXT,
    sequence INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS by_sequence ON people (sequence);
CREATE TABLE IF NOT EXISTS newcomers (user_id TEXT PRIMARY KEY, expires REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_expiry ON newcomers (expires);
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id TEXT NOT NULL REFERENCES newcomers (user_id) ON DELETE CASCADE,
    event_id TEXT NOT NULL,
    item_id TEXT NOT NULL,
    rating REAL NOT NULL,
    domain TEXT NOT NULL DEFAULT 'source',
    UNIQUE (user_id, event_id)
);
CREATE INDEX IF NOT EXISTS by_user ON events (user_id, number);
CREATE TABLE IF NOT EXISTS claims (
    key TEXT PRIMARY KEY,
    asked TEXT NOT NULL,
    answer TEXT,
    expires REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_claim_expiry ON claims (expires);
CREATE TABLE IF NOT EXISTS identity (store TEXT NOT NULL, one INTEGER PRIMARY KEY CHECK (one = 1));
INSERT OR IGNORE INTO identity VALUES (lower(hex(randomblob(16))), 1);
"""
_HAS_EVENTS = "SELECT 1 FROM newcomers WHERE user_id = ?"
_NEXT = "(SELECT COALESCE(MAX(sequence), 0) + 1 FROM people)"


class SqliteStore:
    """A :class:`service.state.store.Store` in a file. Writes are synced to the disk before they return."""

    def __init__(self, path: Path) -> None:
        """Open or make the file at ``path``. Raises StateUnavailable where that is not possible."""
        # All work happens on this thread: a sync may take long, and the event loop must not wait for it.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state")
        try:
            self._connection = self._thread.submit(_open, path).result()
            self._reader = sqlite3.connect(path, timeout=WAIT_SECONDS)
        except sqlite3.Error as error:
            self._thread.shutdown()
            raise StateUnavailable(f"state cannot be kept in {path}: {error}; set DIFFCDR_STATE_URL") from error

    async def set_opt_out(self, user_id: str, opted_out: bool) -> None:
        """As :class:`service.state.store.Store` says."""

        def write() -> None:
            with self._connection:
                self._connection.execute(
                    f"INSERT INTO people (user_id, opted_out, sequence) VALUES (?, ?, {_NEXT}) ON CONFLICT (user_id) "
                    "DO UPDATE SET opted_out = excluded.opted_out, sequence = excluded.sequence "
                    "WHERE opted_out <> excluded.opted_out",
                    (user_id, int(opted_out)),
                )

        await self._run(write)

    async def erase(self, user_id: str) -> Erasure:
        """As :class:`service.state.store.Store` says."""

        def write() -> Erasure:
            with self._connection:
                self._connection.execute(
                    f"INSERT INTO people (user_id, receipt, erased_at, sequence) VALUES (?, ?, ?, {_NEXT}) "
                    "ON CONFLICT (user_id) DO UPDATE SET receipt = excluded.receipt, "
                    "erased_at = excluded.erased_at, sequence = excluded.sequence WHERE receipt IS NULL",
                    (user_id, uuid.uuid4().hex, datetime.now(UTC).isoformat(timespec="seconds")),
                )
                self._connection.execute("DELETE FROM newcomers WHERE user_id = ?", (user_id,))
                row = self._connection.execute(
                    "SELECT user_id, receipt, erased_at FROM people WHERE user_id = ?", (user_id,)
                ).fetchone()
            return Erasure(*row)

        return await self._run(write)

    async def add_events(self, events: Sequence[Event], *, keep_seconds: float) -> list[Outcome]:
        """As :class:`service.state.store.Store` says."""

        def write() -> list[Outcome]:
            now = time.time()
            with self._connection:
                # Takes the lock before anything is read, so that no erasure comes in between.
                self._connection.execute("DELETE FROM newcomers WHERE expires <= ?", (now,))
                outcomes = _insert(self._connection, events, expires=now + keep_seconds)
                for user_id in {event.user_id for event in events}:
                    self._connection.execute(
                        "DELETE FROM events WHERE user_id = ?1 AND number <= "
                        "(SELECT number FROM events WHERE user_id = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
                        (user_id, MAX_EVENTS_PER_USER),
                    )
            return outcomes

        return await self._run(write)

    async def histories(self, user_ids: Sequence[str], domain: Domain = "source") -> dict[str, History]:
        """As :class:`service.state.store.Store` says."""
        # Most have none, which takes microseconds to see: not worth a change of threads (see version).
        try:
            having = [user for user in user_ids if self._reader.execute(_HAS_EVENTS, (user,)).fetchone()]
        except sqlite3.Error as error:
            raise StateUnavailable(f"the state file cannot be used: {error}") from error

        def read() -> dict[str, History]:
            found: dict[str, History] = {}
            for user_id in having:
                rows = self._connection.execute(
                    "SELECT item_id, rating FROM newcomers JOIN events USING (user_id) "
                    "WHERE user_id = ? AND expires > ? AND domain = ? ORDER BY number",
                    (user_id, time.time(), domain),
                ).fetchall()
                if rows:
                    found[user_id] = tuple(rows)
            return found

        return await self._run(read) if having else {}

    async def claim(self, key: str, asked: str, *, keep_seconds: float) -> Claim:
        """As :class:`service.state.store.Store` says."""

        def write() -> Claim:
            now = time.time()
            with self._connection:
                self._connection.execute("DELETE FROM claims WHERE expires <= ?", (now,))
                self._connection.execute(
                    "INSERT INTO claims (key, asked, expires) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                    (key, asked, now + keep_seconds),
                )
                row = self._connection.execute("SELECT asked, answer FROM claims WHERE key = ?", (key,)).fetchone()
            return Claim(*row)

        return await self._run(write)

    async def settle(self, key: str, answer: str) -> str:
        """As :class:`service.state.store.Store` says."""

        def write() -> str:
            with self._connection:
                self._connection.execute("UPDATE claims SET answer = ? WHERE key = ? AND answer IS NULL", (answer, key))
                row = self._connection.execute("SELECT answer FROM claims WHERE key = ?", (key,)).fetchone()
            return str(row[0]) if row else answer

        return await self._run(write)

    async def version(self) -> Version:
        """As :class:`service.state.store.Store` says."""
        # Some microseconds, and a reader waits for no writer: not worth a change of threads.
        try:
            row = self._reader.execute("SELECT store, (SELECT COALESCE(MAX(sequence), 0) FROM people) FROM identity")
            return Version(*row.fetchone())
        except sqlite3.Error as error:
            raise StateUnavailable(f"the state file cannot be used: {error}") from error

    async def changes(self, after: int) -> Changes:
        """As :class:`service.state.store.Store` says."""

        def read() -> Changes:
            rows = self._connection.execute(
                "SELECT user_id, opted_out OR receipt IS NOT NULL, sequence FROM people WHERE sequence > ?", (after,)
            ).fetchall()
            return Changes(max((row[2] for row in rows), default=after), {row[0]: bool(row[1]) for row in rows})

        return await self._run(read)

    async def erasures(self) -> AsyncIterator[Erasure]:
        """As :class:`service.state.store.Store` says."""

        def read() -> list[Erasure]:
            rows = self._connection.execute(
                "SELECT user_id, receipt, erased_at FROM people WHERE receipt IS NOT NULL ORDER BY erased_at, user_id"
            )
            return [Erasure(*row) for row in rows]

        for erasure in await self._run(read):
            yield erasure

    async def close(self) -> None:
        """As :class:`service.state.store.Store` says."""
        self._reader.close()
        await self._run(self._connection.close)
        self._thread.shutdown()

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            raise StateUnavailable(f"the state file cannot be used: {error}") from error


def _insert(connection: sqlite3.Connection, events: Sequence[Event], *, expires: float) -> list[Outcome]:
    users = {event.user_id for event in events}
    suppressed = {
        user_id
        for user_id in users
        if connection.execute(
            "SELECT 1 FROM people WHERE user_id = ? AND (opted_out OR receipt IS NOT NULL)", (user_id,)
        ).fetchone()
    }
    connection.executemany(
        "INSERT INTO newcomers VALUES (?, ?) ON CONFLICT DO UPDATE SET expires = excluded.expires",
        [(user_id, expires) for user_id in users - suppressed],
    )
    outcomes: list[Outcome] = []
    for event in events:
        if event.user_id in suppressed:
            outcomes.append("suppressed")
            continue
        added = connection.execute(
            "INSERT INTO events (user_id, event_id, item_id, rating, domain) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT DO NOTHING",
            (event.user_id, event.event_id, event.item_id, event.rating, event.domain),
        )
        outcomes.append("accepted" if added.rowcount else "duplicate")
    return outcomes


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=WAIT_SECONDS)
    try:
        connection.executescript(_SCHEMA)
        # WAL alone survives kill -9; this survives the machine's end too.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        with closing(connection.execute("BEGIN IMMEDIATE")):
            columns = [row[1] for row in connection.execute("PRAGMA table_info(events)")]
            if "domain" not in columns:  # the file of a version that knew source items only
                connection.execute("ALTER TABLE events ADD COLUMN domain TEXT NOT NULL DEFAULT 'source'")
            connection.commit()
    except sqlite3.Error:
        connection.close()
        raise
    return connection
