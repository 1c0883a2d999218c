"""Storage of item changes and of uploaded lists: one contract for SQLite and Redis.

- A write is durable before it returns, and applies to all of its items or to none.
- Each changed item takes the next number of a sequence, separate from that of opt-outs, so that replicas can follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from diffcdr.filtering.changes import ItemChange, NamedList
from service.state.store import StateUnavailable


@dataclass(frozen=True, slots=True)
class ItemWish:
    """The wanted state of an item. ``None``: the bundle's value. If a ``keep`` is True, the current value stays."""

    available: bool | None = None
    tags: tuple[str, ...] | None = None
    keep_available: bool = False
    keep_tags: bool = False

    def then(self, later: ItemWish) -> ItemWish:
        """Both changes, ``later`` last."""
        said = self if later.keep_available else later
        tagged = self if later.keep_tags else later
        return ItemWish(said.available, tagged.tags, said.keep_available, tagged.keep_tags)


@dataclass(frozen=True)
class ItemVersion:
    """The last number of the sequence; ``store`` is drawn at random when a store is first written to."""

    store: str = ""
    sequence: int = 0
    lists: str = ""
    """Drawn at random at every change of an uploaded list; empty before the first."""


class ItemStore(Protocol):
    """Every method raises StateUnavailable if the store does not answer, StateBroken if it is damaged or replaced."""

    async def change(self, wishes: Mapping[str, ItemWish]) -> None:
        """Apply ``wishes``, by item id."""
        ...

    async def version(self) -> ItemVersion:
        """Which store this is and the number of its last change; cheap."""
        ...

    async def changes(self, after: int) -> tuple[int, dict[str, ItemChange]]:
        """The last number, and the current state of every item changed after number ``after``."""
        ...

    async def put_list(self, name: str, text: str) -> None:
        """Store the list ``name``, ids as JSON, in place of an earlier one."""
        ...

    async def delete_list(self, name: str) -> None:
        """Remove the list ``name``, if there is one."""
        ...

    async def lists(self, known: Mapping[str, NamedList]) -> dict[str, NamedList]:
        """All lists; those that are ``known`` by their stamp are not read again."""
        ...


def taken_over(
    known: Mapping[str, NamedList], stamps: Mapping[str, str], texts: Mapping[str, str]
) -> dict[str, NamedList]:
    """The lists with these ``stamps``: with one of ``texts``, or else as ``known``; others were removed meanwhile."""
    read = {name: NamedList(stamps[name], text) for name, text in texts.items()}
    kept = {name: known[name] for name, stamp in stamps.items() if name in known and known[name].stamp == stamp}
    return {**kept, **read}


class NoItems:
    """Used without a state: no changes, and none can be made."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def change(self, wishes: Mapping[str, ItemWish]) -> None:
        """Raises StateUnavailable."""
        raise StateUnavailable(self._reason)

    async def put_list(self, name: str, text: str) -> None:
        """Raises StateUnavailable."""
        raise StateUnavailable(self._reason)

    async def delete_list(self, name: str) -> None:
        """Raises StateUnavailable."""
        raise StateUnavailable(self._reason)

    async def lists(self, known: Mapping[str, NamedList]) -> dict[str, NamedList]:
        """None."""
        return {}

    async def version(self) -> ItemVersion:
        """No changes."""
        return ItemVersion()

    async def changes(self, after: int) -> tuple[int, dict[str, ItemChange]]:
        """None."""
        return after, {}
