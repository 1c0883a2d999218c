"""Looking up users and items as people do: by the beginning of an id, or by a part of a title."""

from __future__ import annotations

from diffcdr.bundle.ids import IdTable
from diffcdr.bundle.reader import Bundle
from diffcdr.bundle.titles import TitleTable
from service.state.suppression import Guard

CHUNK = 256
MAX_SEEN = 100_000
"""Ids looked at for one answer, where nearly all that begin so are suppressed."""


def find_users(bundle: Bundle, guard: Guard, prefix: str, limit: int) -> list[str]:
    """The first ``limit`` ids of ``bundle`` that begin with ``prefix`` and may be named, in byte order."""
    tables = [bundle.source_users.ids, bundle.target_users.ids]
    size = CHUNK
    while True:
        listed = [_encoded(table, table.starting_with(prefix, size)) for table in tables]
        # Past the end of a list that was cut short, an id of the other list may come too early.
        ends = [ids[-1] for ids in listed if len(ids) == size]
        whole = sorted(text for text in set().union(*listed) if not ends or text <= min(ends))
        found = [text for text in map(bytes.decode, whole) if guard.allows(text)][:limit]
        if len(found) == limit or not ends or size >= MAX_SEEN:
            return found
        size *= 8


def _encoded(table: IdTable, rows: range) -> list[bytes]:
    ids: list[bytes] = table.array[rows.start : rows.stop].tolist()
    return ids


def find_items(ids: IdTable, titles: TitleTable | None, wanted: str, limit: int) -> list[int]:
    """Rows of up to ``limit`` items whose id begins with ``wanted``, then of those whose title has it in any case."""
    rows = list(ids.starting_with(wanted, limit))
    if titles is not None and wanted and len(rows) < limit:
        known = set(rows)
        rows += [row for row in titles.search(wanted, limit + len(rows)) if row not in known]
    return rows[:limit]
