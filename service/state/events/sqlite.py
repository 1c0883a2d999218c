"""Events in the state's SQLite file. Every function runs on the store's thread and writes within its transaction.

``events`` holds events that count in lists like ratings, ``signals`` all others, so that impressions neither push out
ratings nor are read before an answer. An infinite rating means that none was given: no real rating is infinite, and
earlier versions, which only know ratings, leave it out.
"""

from __future__ import annotations

import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple

from service.state.events.hours import EventHours, hour_of
from service.state.events.kinds import (
    MAX_EVENTS_PER_USER,
    ArmTotals,
    Domain,
    Event,
    History,
    KeptEvent,
    Outcome,
    Tally,
    Trial,
)

SCHEMA = """
CREATE TABLE IF NOT EXISTS newcomers (user_id TEXT PRIMARY KEY, expires REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_expiry ON newcomers (expires);
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id TEXT NOT NULL REFERENCES newcomers (user_id) ON DELETE CASCADE,
    event_id TEXT NOT NULL,
    item_id TEXT NOT NULL,
    rating REAL NOT NULL,
    domain TEXT NOT NULL DEFAULT 'source',
    type TEXT NOT NULL DEFAULT 'rating',
    recommendation TEXT,
    position INTEGER,
    at INTEGER,
    UNIQUE (user_id, event_id)
);
CREATE INDEX IF NOT EXISTS by_user ON events (user_id, number);
CREATE TABLE IF NOT EXISTS event_hours (hour INTEGER PRIMARY KEY, first INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS signals (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id TEXT NOT NULL REFERENCES newcomers (user_id) ON DELETE CASCADE,
    event_id TEXT NOT NULL,
    item_id TEXT NOT NULL,
    rating REAL NOT NULL,
    domain TEXT NOT NULL,
    type TEXT NOT NULL,
    recommendation TEXT,
    position INTEGER,
    at INTEGER,
    UNIQUE (user_id, event_id)
);
CREATE INDEX IF NOT EXISTS signals_by_user ON signals (user_id, number);
CREATE TABLE IF NOT EXISTS trials (
    experiment TEXT NOT NULL,
    arm TEXT NOT NULL,
    percent REAL NOT NULL,
    bundle TEXT NOT NULL,
    users INTEGER NOT NULL DEFAULT 0,
    impressions INTEGER NOT NULL DEFAULT 0,
    clicks INTEGER NOT NULL DEFAULT 0,
    conversions INTEGER NOT NULL DEFAULT 0,
    clickers INTEGER NOT NULL DEFAULT 0,
    converters INTEGER NOT NULL DEFAULT 0,
    last REAL NOT NULL,
    PRIMARY KEY (experiment, arm)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS trial_users (
    user_id TEXT NOT NULL REFERENCES newcomers (user_id) ON DELETE CASCADE,
    experiment TEXT NOT NULL,
    arm TEXT NOT NULL,
    impressions INTEGER NOT NULL,
    clicks INTEGER NOT NULL,
    conversions INTEGER NOT NULL,
    PRIMARY KEY (user_id, experiment)
) WITHOUT ROWID;
"""
TABLES = frozenset({"newcomers", "events", "event_hours", "signals", "trials", "trial_users"})
_ADDED_COLUMNS = {
    "domain": "TEXT NOT NULL DEFAULT 'source'",
    "type": "TEXT NOT NULL DEFAULT 'rating'",
    "recommendation": "TEXT",
    "position": "INTEGER",
    "at": "INTEGER",
}
"""Columns that earlier versions did not have."""
NO_RATING = math.inf
PAGE = 10_000
_COLUMNS = "user_id, event_id, item_id, rating, domain, type, recommendation, position, at"
# An event id is unique over both tables.
_INSERT = {
    table: f"INSERT INTO {table} ({_COLUMNS}) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 "
    f"WHERE NOT EXISTS (SELECT 1 FROM {other} WHERE user_id = ?1 AND event_id = ?2) ON CONFLICT DO NOTHING"
    for table, other in (("events", "signals"), ("signals", "events"))
}


def complete(connection: sqlite3.Connection) -> None:
    """Add missing columns to the tables of an earlier version, all or none."""
    known = {row[1] for row in connection.execute("PRAGMA table_info(events)")}
    lacking = [name for name in _ADDED_COLUMNS if name not in known]
    if lacking:
        statements = "".join(f"ALTER TABLE events ADD COLUMN {name} {_ADDED_COLUMNS[name]};" for name in lacking)
        connection.executescript(f"BEGIN IMMEDIATE; {statements} COMMIT;")


def insert(
    connection: sqlite3.Connection, events: Sequence[Event], *, now: float, keep_seconds: float
) -> list[Outcome]:
    """Add ``events`` and count them; the outcome of each."""
    connection.execute(
        "INSERT OR IGNORE INTO event_hours VALUES "
        "(?, COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0) + 1)",
        (hour_of(now),),
    )
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
        [(user_id, now + keep_seconds) for user_id in users - suppressed],
    )
    outcomes: list[Outcome] = []
    written: dict[str, set[str]] = {"events": set(), "signals": set()}
    for event in events:
        if event.user_id in suppressed:
            outcomes.append("suppressed")
            continue
        table = "events" if event.liked else "signals"
        added = connection.execute(_INSERT[table], _row(event, now)).rowcount
        outcomes.append("accepted" if added else "duplicate")
        written[table].add(event.user_id)
    for table, changed in written.items():
        for user_id in changed:
            connection.execute(
                f"DELETE FROM {table} WHERE user_id = ?1 AND number <= "
                f"(SELECT number FROM {table} WHERE user_id = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
                (user_id, MAX_EVENTS_PER_USER),
            )
    accepted = [event for event, outcome in zip(events, outcomes, strict=True) if outcome == "accepted"]
    _count(connection, accepted, now=now)
    return outcomes


def _row(event: Event, now: float) -> tuple[object, ...]:
    rating = NO_RATING if event.rating is None else event.rating
    # Hours are found by the number in ``events``; ``signals`` is numbered separately.
    at = hour_of(now) if event.at is None and not event.liked else event.at
    return (
        event.user_id,
        event.event_id,
        event.item_id,
        rating,
        event.domain,
        event.type,
        event.recommendation_id,
        event.position,
        at,
    )


def _count(connection: sqlite3.Connection, events: Sequence[Event], *, now: float) -> None:
    """Add ``events`` to the tallies of their users, and to the totals."""
    tallies: dict[tuple[str, Trial], Tally] = defaultdict(Tally)
    for event in events:
        if event.trial is not None and event.counter is not None:
            key = event.user_id, event.trial
            tallies[key] = tallies[key].plus(Tally(**{event.counter: 1}))
    changes: dict[Trial, list[int]] = {}
    for (user_id, trial), added in tallies.items():
        row = connection.execute(
            "SELECT impressions, clicks, conversions FROM trial_users WHERE user_id = ? AND experiment = ?",
            (user_id, trial.experiment),
        ).fetchone()
        before = Tally(*row) if row else Tally()
        after = before.plus(added)
        connection.execute(
            "INSERT OR REPLACE INTO trial_users VALUES (?, ?, ?, ?, ?, ?)",
            (user_id, trial.experiment, trial.arm, *astuple(after)),
        )
        change = changes.setdefault(trial, [0] * 6)
        changes[trial] = [total + more for total, more in zip(change, before.change_to(after), strict=True)]
    for trial, change in changes.items():
        connection.execute(
            "INSERT INTO trials (experiment, arm, percent, bundle, last) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET last = excluded.last",
            (trial.experiment, trial.arm, trial.percent, trial.bundle, now),
        )
        _add(connection, trial.experiment, trial.arm, change)


def _add(connection: sqlite3.Connection, experiment: str, arm: str, change: Sequence[int]) -> None:
    connection.execute(
        "UPDATE trials SET users = users + ?, impressions = impressions + ?, clicks = clicks + ?, "
        "conversions = conversions + ?, clickers = clickers + ?, converters = converters + ? "
        "WHERE experiment = ? AND arm = ?",
        (*change, experiment, arm),
    )


def forget_old(connection: sqlite3.Connection, *, now: float, keep_seconds: float) -> None:
    """Remove expired data: users by their own dates, totals ``keep_seconds`` after their last change."""
    connection.execute("DELETE FROM newcomers WHERE expires <= ?", (now,))
    connection.execute("DELETE FROM trials WHERE last <= ?", (now - keep_seconds,))


def forget(connection: sqlite3.Connection, user_id: str) -> None:
    """Remove all events of the user, and subtract their counts."""
    rows = connection.execute(
        "SELECT experiment, arm, impressions, clicks, conversions FROM trial_users WHERE user_id = ?", (user_id,)
    ).fetchall()
    for experiment, arm, *tally in rows:
        _add(connection, experiment, arm, Tally(*tally).change_to(Tally()))
    connection.execute("DELETE FROM newcomers WHERE user_id = ?", (user_id,))


def totals(connection: sqlite3.Connection) -> list[ArmTotals]:
    """The counts of each arm, most recently changed first."""
    rows = connection.execute(
        "SELECT experiment, arm, percent, bundle, users, impressions, clicks, conversions, clickers, converters "
        "FROM trials ORDER BY last DESC, experiment, arm"
    )
    return [ArmTotals(Trial(*row[:4]), *row[4:]) for row in rows]


def read_history(
    connection: sqlite3.Connection, user_id: str, domain: Domain, *, now: float, worth: Mapping[str, float]
) -> History:
    """The ratings of one user; an event without one counts as its type's ``worth``, or not at all."""
    rows = connection.execute(
        "SELECT item_id, rating, type FROM newcomers JOIN events USING (user_id) "
        "WHERE user_id = ? AND expires > ? AND domain = ? ORDER BY number",
        (user_id, now, domain),
    )
    valued = ((item, worth.get(kind) if rating == NO_RATING else rating) for item, rating, kind in rows)
    return tuple((item, rating) for item, rating in valued if rating is not None)


def page(connection: sqlite3.Connection, table: str, after: int, *, now: float) -> Iterator[KeptEvent]:
    """Up to ``PAGE`` events of ``table`` with numbers above ``after``, by number."""
    hours = EventHours(connection.execute("SELECT first, hour FROM event_hours") if table == "events" else ())
    rows = connection.execute(
        f"SELECT number, user_id, item_id, rating, domain, at, type, recommendation, position FROM {table} "
        "JOIN newcomers USING (user_id) WHERE number > ? AND expires > ? ORDER BY number LIMIT ?",
        (after, now, PAGE),
    )
    for number, user, item, rating, domain, at, *rest in rows:
        given = None if rating == NO_RATING else rating
        yield KeptEvent(number, user, item, given, domain, hours.of(number) if at is None else at, *rest)
