"""Opens the SQLite file, and detects if it was lost, replaced or rolled back.

SQLite creates an empty database if the file is missing, and an older copy looks as valid as the newest. A witness file
(:mod:`service.state.witness`) tells them apart. A state that is missing, emptied, another one, or older than its
witness is refused with the reason, and never taken for a new one.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.state.events import sqlite as events
from service.state.items import sqlite as items
from service.state.store import StateBroken, StateUnavailable
from service.state.witness import WAIT_SECONDS, Known, Witness

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS people (
    user_id TEXT PRIMARY KEY,
    opted_out INTEGER NOT NULL DEFAULT 0,
    receipt TEXT,
    erased_at TEXT,
    sequence INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS by_sequence ON people (sequence);
{events.SCHEMA}
{items.SCHEMA}
CREATE TABLE IF NOT EXISTS claims (
    key TEXT PRIMARY KEY,
    asked TEXT NOT NULL,
    answer TEXT,
    expires REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_claim_expiry ON claims (expires);
CREATE TABLE IF NOT EXISTS identity (store TEXT NOT NULL, one INTEGER PRIMARY KEY CHECK (one = 1));
INSERT OR IGNORE INTO identity VALUES (lower(hex(randomblob(16))), 1);
CREATE TABLE IF NOT EXISTS clock (seen REAL NOT NULL, one INTEGER PRIMARY KEY CHECK (one = 1));
INSERT OR IGNORE INTO clock VALUES (CAST(strftime('%s', 'now') AS REAL), 1);
"""
VERSION = "SELECT store, (SELECT COALESCE(MAX(sequence), 0) FROM people) FROM identity"
_ALL = f"SELECT store, (SELECT COALESCE(MAX(sequence), 0) FROM people), ({items.LAST}) FROM identity"

Stamps = tuple[tuple[int, int] | None, ...]


BESIDE_SECONDS = 0.05
"""How often the write-ahead log and its index are checked; they are only replaced by accident."""


class NeverWas(Exception):
    """There is no state at the path, no witness knows of one, and none can be created."""


@dataclass(frozen=True)
class Opened:
    """The file, open: ``connection`` for the store's thread, ``reader`` for the event loop."""

    connection: sqlite3.Connection
    reader: sqlite3.Connection
    stamps: Stamps

    def close(self) -> None:
        """Close both."""
        with contextlib.suppress(sqlite3.Error):
            self.reader.close()
        with contextlib.suppress(sqlite3.Error):
            self.connection.close()


class StateFile:
    """The state's file at ``path``. All methods except :meth:`same` must be called on one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._witness = Witness(path.with_name(f".{path.name}.witness"))
        self._beside_at = 0.0
        self._parts = [str(path), f"{path}-wal", f"{path}-shm"]

    def open(self) -> Opened:
        """Open it, or create it if there provably never was one.

        Raises:
            NeverWas: there is none, and none can be created.
            StateBroken: it is damaged, or does not match its witness.
            StateUnavailable: it cannot be opened now.
        """
        try:
            with self._witness.held():
                return self._open()
        except sqlite3.Error as error:
            raise explained(error, self.path) from error
        except OSError as error:
            if self._absent():
                raise NeverWas(f"{self.path} cannot be created ({error.strerror})") from error
            raise StateUnavailable(f"the state file {self.path} cannot be opened for writing: {error}") from error

    def same(self, opened: Opened) -> bool:
        """Whether the file at the path is still the one that was ``opened``. Takes some microseconds.

        Checks the file each time, and the files that SQLite keeps next to it every ``BESIDE_SECONDS``.
        """
        if _stamp(self._parts[0]) != opened.stamps[0]:
            return False
        now = time.monotonic()
        if now < self._beside_at:
            return True
        self._beside_at = now + BESIDE_SECONDS
        return self._stamps() == opened.stamps

    @contextmanager
    def vouched(self, connection: sqlite3.Connection) -> Iterator[None]:
        """A write about users or items: a transaction that begins with a check of the file, then the witness's update.

        Raises:
            StateBroken: the file lacks changes that its witness knows.
            StateUnavailable: the witness cannot be written. What was written is kept, and may be written again.
        """
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            self._check(connection, self._witness.known())
            yield
            now = self._check(connection, Known())
        try:
            with self._witness.held():
                known = self._witness.known()
                # Another process may have written since, and have been here first.
                newest = Known(now.store, max(now.people, known.people), max(now.items, known.items))
                if newest != known:
                    self._witness.remember(newest)
        except OSError as error:
            raise StateUnavailable(f"{self._witness.path} cannot be written: {error}") from error

    def _open(self) -> Opened:
        known = self._witness.known()
        status = self._status()
        if status is None and not self._left_over():
            if known.store:
                raise StateBroken(
                    f"the state file {self.path} is gone, and it held {known.people} changes of users and "
                    f"{known.items} of items; put it back, or delete {self._witness.path} to begin with an empty one"
                )
            self._make()
        elif not status:
            raise StateBroken(
                f"the state file {self.path} is empty, which a state file never is; put it back, or delete it, "
                f"what is named like it and {self._witness.path} to begin with an empty one"
            )
        connection = _connect(self.path)
        reader: sqlite3.Connection | None = None
        try:
            _complete(connection)
            now = self._check(connection, known)
            if now != known:
                self._witness.remember(now)
            reader = sqlite3.connect(self.path, timeout=0.0, check_same_thread=False)
            reader.execute(VERSION).fetchone()
            return Opened(connection, reader, self._stamps())
        except (sqlite3.Error, StateUnavailable):
            connection.close()
            if reader is not None:
                reader.close()
            raise

    def _check(self, connection: sqlite3.Connection, known: Known) -> Known:
        """What the file holds. Raises StateBroken if that is damaged, or lacks some of what is ``known``."""
        row = connection.execute(_ALL).fetchone()
        if row is None:
            raise StateBroken(f"the state file {self.path} does not say which store it is")
        if not isinstance(row[0], str) or not all(isinstance(number, int) for number in row[1:]):
            raise StateBroken(f"the state file {self.path} is damaged: its sequence is not a number")
        now = Known(*row)
        if not known.store:
            return now
        witness = self._witness.path
        remedy = f"put the newest one back, or delete {witness} to go on with this one, without what it lacks"
        if now.store != known.store:
            raise StateBroken(f"the state file {self.path} belongs to another store than {witness} says; {remedy}")
        if now.people < known.people or now.items < known.items:
            raise StateBroken(
                f"the state file {self.path} was rolled back: it holds {now.people} of {known.people} changes of users "
                f"and {now.items} of {known.items} changes of items; {remedy}"
            )
        return now

    def _make(self) -> None:
        """Create an empty state at the path, atomically."""
        partial = self.path.with_name(f".{self.path.name}.new")
        for leftover in (partial, Path(f"{partial}-wal"), Path(f"{partial}-shm"), Path(f"{partial}-journal")):
            leftover.unlink(missing_ok=True)
        # It holds who opted out: for its owner alone, as the files that SQLite puts next to it then are.
        os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(partial)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(_SCHEMA)
        partial.rename(self.path)
        _sync_folder(self.path.parent)

    def _status(self) -> int | None:
        """Size of the file; None if there is none."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return None

    def _left_over(self) -> bool:
        return os.path.lexists(f"{self.path}-wal")

    def _absent(self) -> bool:
        """Whether there provably is no state here and never was."""
        for name in (self.path, self._witness.path, Path(f"{self.path}-wal")):
            try:
                name.lstat()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError:
                pass  # unknown
            return False
        return True

    def _stamps(self) -> Stamps:
        return tuple(_stamp(part) for part in self._parts)


def explained(error: sqlite3.Error, path: Path) -> StateUnavailable:
    """Whether ``error`` means that the state is unavailable for now, or broken."""
    code = getattr(error, "sqlite_errorcode", None)
    passing = (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_READONLY,
    )
    if code is not None and code & 0xFF in passing:
        return StateUnavailable(f"the state file {path} cannot be used: {error}; close the program that holds it")
    return StateBroken(f"the state file {path} cannot be used: {error}; put a good copy back")


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process has the file locked."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _connect(path: Path) -> sqlite3.Connection:
    # Never created here: a missing file must not become an empty state.
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", timeout=WAIT_SECONDS, uri=True)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # WAL alone survives kill -9; FULL survives a power failure too.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _complete(connection: sqlite3.Connection) -> None:
    """Upgrade a file of an earlier version, and check the integrity of opt-outs, erasures and changes of items."""
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"identity", "clock", *items.TABLES, *events.TABLES} <= tables:
        connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
    events.complete(connection)
    for table, what in (("people", "opt-outs"), (items.TABLE, "changes of items"), (items.LISTS, "lists")):
        faults = connection.execute(f"PRAGMA integrity_check({table})").fetchall()
        if faults != [("ok",)]:
            raise StateBroken(f"the {what} in the state file are damaged: {faults[0][0]}; put a good copy back")


def _stamp(part: str) -> tuple[int, int] | None:
    try:
        status = os.stat(part)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
