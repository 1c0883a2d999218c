"""State in one SQLite file, shared by the processes of one machine."""

from __future__ import annotations

import logging
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from service.state.events import sqlite as event_tables
from service.state.events.kinds import ArmTotals, Domain, Event, History, KeptEvent, Outcome
from service.state.items.sqlite import SqliteItems
from service.state.sqlite_access import Access
from service.state.sqlite_file import VERSION
from service.state.store import NO_WORTH, Changes, Claim, Erasure, StateBroken, Version

logger = logging.getLogger(__name__)

LEAP_SECONDS = 3600.0
"""A clock this far ahead of the last write to the state may be wrong, ..."""
CLOCK_AHEAD_SECONDS = 3600.0
"""... so nothing expires until it has been ahead for this long."""

_HAS_EVENTS = "SELECT 1 FROM events WHERE user_id = ? LIMIT 1"
_NEXT = "(SELECT COALESCE(MAX(sequence), 0) + 1 FROM people)"


class SqliteStore:
    """A :class:`service.state.store.Store` in a file. Writes are synced to the disk before they return.

    If an existing file cannot be used, every call raises, and it is tried again; see :mod:`service.state.sqlite_file`
    for what counts as usable.
    """

    def __init__(self, path: Path) -> None:
        """Open the file at ``path``, or create it if there provably never was one. Raises NeverWas."""
        self._access = Access(path)
        self.items = SqliteItems(self._access)
        self._ahead_since: float | None = None

    async def set_opt_out(self, user_id: str, opted_out: bool) -> None:
        """As :class:`service.state.store.Store` says."""

        def write(connection: sqlite3.Connection) -> None:
            with self._access.file.vouched(connection):
                connection.execute(
                    f"INSERT INTO people (user_id, opted_out, sequence) VALUES (?, ?, {_NEXT}) ON CONFLICT (user_id) "
                    "DO UPDATE SET opted_out = excluded.opted_out, sequence = excluded.sequence "
                    "WHERE opted_out <> excluded.opted_out",
                    (user_id, int(opted_out)),
                )

        await self._access.run(write)

    async def erase(self, user_id: str) -> Erasure:
        """As :class:`service.state.store.Store` says."""

        def write(connection: sqlite3.Connection) -> Erasure:
            with self._access.file.vouched(connection):
                connection.execute(
                    f"INSERT INTO people (user_id, receipt, erased_at, sequence) VALUES (?, ?, ?, {_NEXT}) "
                    "ON CONFLICT (user_id) DO UPDATE SET receipt = excluded.receipt, "
                    "erased_at = excluded.erased_at, sequence = excluded.sequence WHERE receipt IS NULL",
                    (user_id, uuid.uuid4().hex, datetime.now(UTC).isoformat(timespec="seconds")),
                )
                event_tables.forget(connection, user_id)
                row = connection.execute(
                    "SELECT user_id, receipt, erased_at FROM people WHERE user_id = ?", (user_id,)
                ).fetchone()
            return Erasure(*row)

        return await self._access.run(write)

    async def add_events(self, events: Sequence[Event], *, keep_seconds: float) -> list[Outcome]:
        """As :class:`service.state.store.Store` says."""

        def write(connection: sqlite3.Connection) -> list[Outcome]:
            now = time.time()
            with connection:
                # Lock before reading, so that no erasure happens in between.
                connection.execute("BEGIN IMMEDIATE")
                if self._believes(connection, now):
                    event_tables.forget_old(connection, now=now, keep_seconds=keep_seconds)
                return event_tables.insert(connection, events, now=now, keep_seconds=keep_seconds)

        return await self._access.run(write)

    async def histories(
        self, user_ids: Sequence[str], domain: Domain = "source", *, worth: Mapping[str, float] = NO_WORTH
    ) -> dict[str, History]:
        """As :class:`service.state.store.Store` says."""

        def known(connection: sqlite3.Connection) -> list[str]:
            return [user for user in user_ids if connection.execute(_HAS_EVENTS, (user,)).fetchone()]

        # Callers have just read the version, which checked the file.
        having = await self._access.look(known, same=False)

        def read(connection: sqlite3.Connection) -> dict[str, History]:
            now = time.time()
            found = {
                user_id: event_tables.read_history(connection, user_id, domain, now=now, worth=worth)
                for user_id in having
            }
            return {user_id: history for user_id, history in found.items() if history}

        return await self._access.run(read) if having else {}

    async def trials(self) -> list[ArmTotals]:
        """As :class:`service.state.store.Store` says."""
        return await self._access.run(event_tables.totals)

    async def events(self) -> AsyncIterator[KeptEvent]:
        """As :class:`service.state.store.Store` says."""
        for table in ("events", "signals"):
            last = 0

            def page(connection: sqlite3.Connection, after: int, table: str = table) -> list[KeptEvent]:
                return list(event_tables.page(connection, table, after, now=time.time()))

            while found := await self._access.run(partial(page, after=last)):
                for event in found:
                    yield event
                last = found[-1].number

    async def claim(self, key: str, asked: str, *, keep_seconds: float) -> Claim:
        """As :class:`service.state.store.Store` says."""

        def write(connection: sqlite3.Connection) -> Claim:
            now = time.time()
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                if self._believes(connection, now):
                    connection.execute("DELETE FROM claims WHERE expires <= ?", (now,))
                connection.execute(
                    "INSERT INTO claims (key, asked, expires) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                    (key, asked, now + keep_seconds),
                )
                row = connection.execute("SELECT asked, answer FROM claims WHERE key = ?", (key,)).fetchone()
            return Claim(*row)

        return await self._access.run(write)

    async def record_answer(self, key: str, answer: str) -> str:
        """As :class:`service.state.store.Store` says."""

        def write(connection: sqlite3.Connection) -> str:
            with connection:
                connection.execute("UPDATE claims SET answer = ? WHERE key = ? AND answer IS NULL", (answer, key))
                row = connection.execute("SELECT answer FROM claims WHERE key = ?", (key,)).fetchone()
            return str(row[0]) if row else answer

        return await self._access.run(write)

    async def version(self) -> Version:
        """As :class:`service.state.store.Store` says."""

        def read(connection: sqlite3.Connection) -> tuple[object, object]:
            found: tuple[object, object] | None = connection.execute(VERSION).fetchone()
            return found or (None, None)

        store, sequence = await self._access.look(read)
        if not isinstance(store, str) or not isinstance(sequence, int):
            raise self._access.lose(StateBroken("the state file is damaged: its sequence is not a number"))
        return Version(store, sequence, self._access.epoch)

    async def changes(self, after: int) -> Changes:
        """As :class:`service.state.store.Store` says."""

        def read(connection: sqlite3.Connection) -> Changes:
            rows = connection.execute(
                "SELECT user_id, opted_out OR receipt IS NOT NULL, sequence FROM people WHERE sequence > ?", (after,)
            ).fetchall()
            return Changes(max((row[2] for row in rows), default=after), {row[0]: bool(row[1]) for row in rows})

        return await self._access.run(read)

    async def erasures(self) -> AsyncIterator[Erasure]:
        """As :class:`service.state.store.Store` says."""

        def read(connection: sqlite3.Connection) -> list[Erasure]:
            rows = connection.execute(
                "SELECT user_id, receipt, erased_at FROM people WHERE receipt IS NOT NULL ORDER BY erased_at, user_id"
            )
            return [Erasure(*row) for row in rows]

        for erasure in await self._access.run(read):
            yield erasure

    async def close(self) -> None:
        """As :class:`service.state.store.Store` says."""
        await self._access.close()

    def _believes(self, connection: sqlite3.Connection, now: float) -> bool:
        """Within a write: whether the clock can be trusted for expiry; if so, its time is recorded."""
        seen = connection.execute("SELECT seen FROM clock").fetchone()[0]
        if now <= seen + LEAP_SECONDS:
            self._ahead_since = None
        else:
            if self._ahead_since is None:
                self._ahead_since = time.monotonic()
                logger.warning(
                    "the clock is %.0f hours ahead of the last write to the state; nothing is forgotten for the next "
                    "%.0f minutes, in case it is wrong",
                    (now - seen) / 3600,
                    CLOCK_AHEAD_SECONDS / 60,
                )
            if time.monotonic() - self._ahead_since < CLOCK_AHEAD_SECONDS:
                return False
        connection.execute("UPDATE clock SET seen = ?", (now,))
        return True
