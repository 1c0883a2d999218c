"""What has changed since the bundle was made: availability and tags of items, and uploaded lists of items."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from diffcdr.filtering.item_filter import FilterError, ItemFilter

REMEMBERED = 64
"""The changed items are kept for this many updates; a reader farther behind reads everything."""


@dataclass(frozen=True, slots=True)
class ItemChange:
    """Values of an item that replace the bundle's; None keeps the bundle's value."""

    available: bool | None = None
    tags: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class NamedList:
    """An allow-list of items that was uploaded before. It stays JSON text until a filter names it."""

    stamp: str
    """Drawn at random for every upload."""
    text: str

    def items(self) -> tuple[str, ...]:
        """The ids of its items."""
        return tuple(json.loads(self.text))


@dataclass(frozen=True, slots=True)
class ItemChanges:
    """All changes up to number ``serial`` of one ``origin``.

    ``entries`` is shared by all numbers of an origin and may already contain later changes; it only grows.
    """

    entries: Mapping[str, ItemChange] = field(default_factory=dict)
    serial: int = 0
    tags_serial: int = 0
    """The number of the last change of a tag."""
    recent: tuple[tuple[int, tuple[str, ...]], ...] = ()
    origin: object = field(default_factory=object)
    known: bool = True
    """False while changes cannot be read: then no item counts as available."""
    lists: Mapping[str, NamedList] = field(default_factory=dict)
    """The uploaded lists by name; replaced as a whole, never changed in place."""

    @property
    def key(self) -> tuple[int, int]:
        """Equal for equal changes."""
        return id(self.origin), self.serial

    def since(self, serial: int) -> list[str] | None:
        """Items that changed after number ``serial``; None if that is no longer known."""
        if serial == self.serial:
            return []
        later = [(number, items) for number, items in self.recent if number > serial]
        if not later or later[0][0] != serial + 1:
            return None
        return list(dict.fromkeys(item for _, items in later for item in items))


def named_list(wanted: ItemFilter, changes: ItemChanges | None) -> NamedList | None:
    """The uploaded list that ``wanted`` names; None if it names none. Raises FilterError if there is no such list."""
    if wanted.list is None:
        return None
    found = None if changes is None else changes.lists.get(wanted.list)
    if found is None:
        raise FilterError("/list", f"there is no list {wanted.list!r}; PUT /v1/lists/{wanted.list} uploads it")
    return found


UNKNOWN = ItemChanges(known=False)
"""Used while changes cannot be read."""


class ChangeLog:
    """Collects changes. Use it on one thread; others may read :attr:`now`."""

    def __init__(self) -> None:
        self._entries: dict[str, ItemChange] = {}
        self.now = ItemChanges(self._entries)
        """All changes so far."""

    def take(self, changed: Mapping[str, ItemChange]) -> None:
        """Add ``changed``."""
        known = self.now
        if not changed:
            return
        retagged = any(
            change.tags is not None or self._entries.get(item, ItemChange()).tags is not None
            for item, change in changed.items()
        )
        self._entries.update(changed)
        serial = known.serial + 1
        recent = (*known.recent[-(REMEMBERED - 1) :], (serial, tuple(changed)))
        self.now = ItemChanges(
            self._entries,
            serial,
            serial if retagged else known.tags_serial,
            recent,
            origin=known.origin,
            lists=known.lists,
        )

    def take_lists(self, lists: Mapping[str, NamedList]) -> None:
        """Replace the uploaded lists with ``lists``, by name."""
        self.now = replace(self.now, lists=dict(lists))
