"""What the service's state says, read once for offline work: changes of items, and users without personal lists.

The service provides the reader, found through the entry-point group ``diffcdr.states``: the runtime knows no database.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import entry_points

import polars as pl

from diffcdr.errors import MissingExtraError
from diffcdr.filtering.changes import ItemChanges, named_list
from diffcdr.filtering.item_filter import ItemFilter
from diffcdr.installation import check_installation

STATE_GROUP = "diffcdr.states"


@dataclass(frozen=True)
class LiveState:
    """A reading of the state. ``suppressed``: ids of users who opted out or were erased."""

    changes: ItemChanges
    suppressed: frozenset[str]

    def away(self, opted_out: pl.Series | None) -> pl.Series:
        """Ids of all users who get no personal list: ``opted_out`` and the suppressed ones, ascending."""
        return pl.Series(
            "user_id", sorted(self.suppressed.union(() if opted_out is None else opted_out)), dtype=pl.String
        )

    def digest(self, filter: ItemFilter | None = None) -> str:
        """Equal for readings that lead to equal lists with ``filter``."""
        uploaded = None if filter is None else named_list(filter, self.changes)
        stamp = None if uploaded is None else uploaded.stamp
        items = sorted((item, change.available, change.tags) for item, change in self.changes.entries.items())
        return hashlib.sha256(json.dumps([items, sorted(self.suppressed), stamp]).encode()).hexdigest()


def read_live_state(url: str) -> LiveState:
    """The state at ``url``: ``sqlite:FILE`` or ``redis://…``.

    Raises:
        InputError: there is no such state, or it cannot be read whole.
        MissingExtraError: the service is not installed.
    """
    for entry in entry_points(group=STATE_GROUP, name="reader"):
        check_installation(entry.module, entry.extras)
        try:
            read = entry.load()
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] in {"diffcdr", entry.module.partition(".")[0]}:
                raise  # a defect of ours
            break
        found: LiveState = read(url)
        return found
    raise MissingExtraError("--state", extra="serve")
