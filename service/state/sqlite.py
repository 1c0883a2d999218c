"""State in one SQLite file, shared by the processes of one machine."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from service.state.store import Changes, Erasure, StateUnavailable, Version

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
CREATE TABLE IF NOT EXISTS identity (store TEXT NOT NULL, one INTEGER PRIMARY KEY CHECK (one = 1));
INSERT OR IGNORE INTO identity VALUES (lower(hex(randomblob(16))), 1);
"""
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
                row = self._connection.execute(
                    "SELECT user_id, receipt, erased_at FROM people WHERE user_id = ?", (user_id,)
                ).fetchone()
            return Erasure(*row)

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


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=WAIT_SECONDS)
    try:
        connection.executescript(_SCHEMA)
        # WAL alone survives kill -9; this survives the machine's end too.
        connection.execute("PRAGMA synchronous = FULL")
        with closing(connection.execute("BEGIN IMMEDIATE")):
            connection.rollback()
    except sqlite3.Error:
        connection.close()
        raise
    return connection
