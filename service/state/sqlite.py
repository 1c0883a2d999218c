"""State in one SQLite file, shared by the processes of one machine."""

from __future__ import annotations

import logging
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from service.state.event_hours import EventHours, hour_of
from service.state.items.sqlite import SqliteItems
from service.state.sqlite_access import Access
from service.state.sqlite_file import VERSION
from service.state.store import (
    MAX_EVENTS_PER_USER,
    Changes,
    Claim,
    Domain,
    Erasure,
    Event,
    History,
    KeptEvent,
    Outcome,
    StateBroken,
    Version,
)

logger = logging.getLogger(__name__)

LEAP_SECONDS = 3600.0
"""A clock this far ahead of the last time that the state knows may be wrong, ..."""
CLOCK_AHEAD_SECONDS = 3600.0
"""... so nothing is forgotten before it has been ahead for this long."""

_PAGE = 10_000
_HAS_EVENTS = "SELECT 1 FROM newcomers WHERE user_id = ?"
_NEXT = "(SELECT COALESCE(MAX(sequence), 0) + 1 FROM people)"


class SqliteStore:
    """A :class:`service.state.store.Store` in a file. Writes are synced to the disk before they return.

    A file that is there and cannot be used makes every call raise, and is tried again; see
    :mod:`service.state.sqlite_file` for what counts as usable.
    """

    def __init__(self, path: Path) -> None:
        """Open the file at ``path``, or make it where there provably never was one. Raises NeverWas."""
        self._access = Access(path)
        self.items = SqliteItems(self._access)
        self._ahead_since: float | None = None

    async def set_opt_out(self, user_id: str, opted_out: bool) -> None:
        """As :class:`service.state.store.Store` says."""

        def write(connection: sqlite3.Connection) -> None:
            with self._vouched(connection):
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
            with self._vouched(connection):
                connection.execute(
                    f"INSERT INTO people (user_id, receipt, erased_at, sequence) VALUES (?, ?, ?, {_NEXT}) "
                    "ON CONFLICT (user_id) DO UPDATE SET receipt = excluded.receipt, "
                    "erased_at = excluded.erased_at, sequence = excluded.sequence WHERE receipt IS NULL",
                    (user_id, uuid.uuid4().hex, datetime.now(UTC).isoformat(timespec="seconds")),
                )
                connection.execute("DELETE FROM newcomers WHERE user_id = ?", (user_id,))
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
                # Takes the lock before anything is read, so that no erasure comes in between.
                connection.execute("BEGIN IMMEDIATE")
                if self._believes(connection, now):
                    connection.execute("DELETE FROM newcomers WHERE expires <= ?", (now,))
                connection.execute(
                    "INSERT OR IGNORE INTO event_hours VALUES "
                    "(?, COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0) + 1)",
                    (hour_of(now),),
                )
                outcomes = _insert(connection, events, expires=now + keep_seconds)
                for user_id in {event.user_id for event in events}:
                    connection.execute(
                        "DELETE FROM events WHERE user_id = ?1 AND number <= "
                        "(SELECT number FROM events WHERE user_id = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
                        (user_id, MAX_EVENTS_PER_USER),
                    )
            return outcomes

        return await self._access.run(write)

    async def histories(self, user_ids: Sequence[str], domain: Domain = "source") -> dict[str, History]:
        """As :class:`service.state.store.Store` says."""

        def known(connection: sqlite3.Connection) -> list[str]:
            return [user for user in user_ids if connection.execute(_HAS_EVENTS, (user,)).fetchone()]

        # Nobody asks before the version was looked at, and with it the file.
        having = await self._access.look(known, same=False)

        def read(connection: sqlite3.Connection) -> dict[str, History]:
            found: dict[str, History] = {}
            for user_id in having:
                rows = connection.execute(
                    "SELECT item_id, rating FROM newcomers JOIN events USING (user_id) "
                    "WHERE user_id = ? AND expires > ? AND domain = ? ORDER BY number",
                    (user_id, time.time(), domain),
                ).fetchall()
                if rows:
                    found[user_id] = tuple(rows)
            return found

        return await self._access.run(read) if having else {}

    async def events(self) -> AsyncIterator[KeptEvent]:
        """As :class:`service.state.store.Store` says."""
        last = 0

        def page(connection: sqlite3.Connection) -> list[KeptEvent]:
            hours = EventHours(connection.execute("SELECT first, hour FROM event_hours"))
            rows = connection.execute(
                "SELECT number, user_id, item_id, rating, domain FROM events JOIN newcomers USING (user_id) "
                "WHERE number > ? AND expires > ? ORDER BY number LIMIT ?",
                (last, time.time(), _PAGE),
            )
            return [
                KeptEvent(number, user, item, rating, domain, hours.of(number))
                for number, user, item, rating, domain in rows
            ]

        while found := await self._access.run(page):
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
            raise self._access.lose(StateBroken("the state file is damaged: its sequence is no number"))
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

    @contextmanager
    def _vouched(self, connection: sqlite3.Connection) -> Iterator[None]:
        """A write about people, on the thread: only to a file that knows all that was acknowledged, and vouched for."""
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            self._access.file.check(connection)
            yield
            sequence = connection.execute(VERSION).fetchone()[1]
        self._access.file.vouch(sequence)

    def _believes(self, connection: sqlite3.Connection, now: float) -> bool:
        """Within a write: whether the clock may be trusted to forget by; what it says becomes known then."""
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
