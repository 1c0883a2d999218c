"""Changes of items in the state's SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import TYPE_CHECKING

from diffcdr.filtering.changes import ItemChange
from service.state.items.store import ItemVersion, ItemWish
from service.state.store import StateBroken

if TYPE_CHECKING:
    from service.state.sqlite_access import Access

TABLE = "items"
SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    item_id TEXT PRIMARY KEY,
    available INTEGER,
    tags TEXT,
    sequence INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS by_item_sequence ON items (sequence);
"""
LAST = "SELECT COALESCE(MAX(sequence), 0) FROM items"
_VERSION = f"SELECT store, ({LAST}) FROM identity"


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

        def read(connection: sqlite3.Connection) -> tuple[object, object]:
            found: tuple[object, object] | None = connection.execute(_VERSION).fetchone()
            return found or (None, None)

        store, sequence = await self._access.look(read)
        if not isinstance(store, str) or not isinstance(sequence, int):
            raise self._access.lose(StateBroken("the state file is damaged: its sequence of items is no number"))
        return ItemVersion(store, sequence)

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
