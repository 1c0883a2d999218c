"""Changes of items, and uploaded lists, in the state's SQLite file."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING

from diffcdr.filtering.changes import ItemChange, NamedList
from service.state.items.store import ItemVersion, ItemWish, taken_over
from service.state.store import StateBroken

if TYPE_CHECKING:
    from service.state.sqlite_access import Access

TABLE, LISTS = "items", "item_lists"
TABLES = (TABLE, LISTS, "item_lists_stamp")
SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    item_id TEXT PRIMARY KEY,
    available INTEGER,
    tags TEXT,
    sequence INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS by_item_sequence ON items (sequence);
CREATE TABLE IF NOT EXISTS item_lists (name TEXT PRIMARY KEY, stamp TEXT NOT NULL, items TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS item_lists_stamp (stamp TEXT NOT NULL, one INTEGER PRIMARY KEY CHECK (one = 1));
"""
LAST = "SELECT COALESCE(MAX(sequence), 0) FROM items"
_VERSION = f"SELECT store, ({LAST}), (SELECT stamp FROM item_lists_stamp) FROM identity"


class SqliteItems:
    """A :class:`service.state.items.store.ItemStore` in the file of ``access``."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def change(self, wishes: Mapping[str, ItemWish]) -> None:
        """As :class:`service.state.items.store.ItemStore` says."""

        def write(connection: sqlite3.Connection) -> None:
            with self._access.file.vouched(connection):
                last = connection.execute(LAST).fetchone()[0]
                for number, (item, wish) in enumerate(wishes.items(), start=last + 1):
                    available = None if wish.keep_available else wish.available
                    tags = None if wish.keep_tags or wish.tags is None else json.dumps(wish.tags)
                    connection.execute(
                        "INSERT INTO items VALUES (?1, ?2, ?3, ?6) ON CONFLICT (item_id) DO UPDATE SET "
                        "available = CASE WHEN ?4 THEN available ELSE excluded.available END, "
                        "tags = CASE WHEN ?5 THEN tags ELSE excluded.tags END, sequence = excluded.sequence",
                        (item, available, tags, wish.keep_available, wish.keep_tags, number),
                    )

        await self._access.run(write)

    async def version(self) -> ItemVersion:
        """As :class:`service.state.items.store.ItemStore` says."""

        def read(connection: sqlite3.Connection) -> tuple[object, object, object]:
            found: tuple[object, object, object] | None = connection.execute(_VERSION).fetchone()
            return found or (None, None, None)

        store, sequence, stamp = await self._access.look(read)
        if not isinstance(store, str) or not isinstance(sequence, int):
            raise self._access.lose(StateBroken("the state file is damaged: its sequence of items is no number"))
        return ItemVersion(store, sequence, str(stamp or ""))

    async def changes(self, after: int) -> tuple[int, dict[str, ItemChange]]:
        """As :class:`service.state.items.store.ItemStore` says."""

        def read(connection: sqlite3.Connection) -> tuple[int, dict[str, ItemChange]]:
            rows = connection.execute("SELECT * FROM items WHERE sequence > ?", (after,)).fetchall()
            found = {
                item: ItemChange(
                    None if available is None else bool(available), None if tags is None else tuple(json.loads(tags))
                )
                for item, available, tags, _ in rows
            }
            return max((row[3] for row in rows), default=after), found

        return await self._access.run(read)

    async def put_list(self, name: str, text: str) -> None:
        """As :class:`service.state.items.store.ItemStore` says."""
        await self._change_lists("INSERT OR REPLACE INTO item_lists VALUES (?, ?, ?)", (name, uuid.uuid4().hex, text))

    async def delete_list(self, name: str) -> None:
        """As :class:`service.state.items.store.ItemStore` says."""
        await self._change_lists("DELETE FROM item_lists WHERE name = ?", (name,))

    async def _change_lists(self, statement: str, values: tuple[str, ...]) -> None:
        def write(connection: sqlite3.Connection) -> None:
            with self._access.file.vouched(connection):
                connection.execute(statement, values)
                connection.execute("INSERT OR REPLACE INTO item_lists_stamp VALUES (?, 1)", (uuid.uuid4().hex,))

        await self._access.run(write)

    async def lists(self, known: Mapping[str, NamedList]) -> dict[str, NamedList]:
        """As :class:`service.state.items.store.ItemStore` says."""
        held = {name: each.stamp for name, each in known.items()}

        def read(connection: sqlite3.Connection) -> tuple[dict[str, str], dict[str, str]]:
            # In one transaction: stamps and texts belong together.
            with connection:
                connection.execute("BEGIN")
                stamps = dict(connection.execute("SELECT name, stamp FROM item_lists").fetchall())
                new = [name for name, stamp in stamps.items() if held.get(name) != stamp]
                wanted = "SELECT items FROM item_lists WHERE name = ?"
                return stamps, {name: connection.execute(wanted, (name,)).fetchone()[0] for name in new}

        return taken_over(known, *await self._access.run(read))
