"""Changes of items as they are kept: one contract for SQLite and Redis.

- A write is durable before it returns, and holds for all of its items or for none.
- Each changed item takes the next number of one sequence of its own, so that every replica's copy can follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from diffcdr.filtering.changes import ItemChange
from service.state.store import StateUnavailable


@dataclass(frozen=True, slots=True)
class ItemWish:
    """What is to hold for an item. ``None``: as the bundle says; where a ``keep`` is True: as it is."""

    available: bool | None = None
    tags: tuple[str, ...] | None = None
    keep_available: bool = False
    keep_tags: bool = False

    def then(self, later: ItemWish) -> ItemWish:
        """Both, one after the other."""
        said = self if later.keep_available else later
        tagged = self if later.keep_tags else later
        return ItemWish(said.available, tagged.tags, said.keep_available, tagged.keep_tags)


@dataclass(frozen=True)
class ItemVersion:
    """How far the sequence has come; ``store`` is drawn at random when one is first written to."""

    store: str = ""
    sequence: int = 0


class ItemStore(Protocol):
    """Every method raises StateUnavailable where the store does not answer, StateBroken where it is not what it was."""

    async def change(self, wishes: Mapping[str, ItemWish]) -> None:
        """Let ``wishes`` hold, by item id."""
        ...

    async def version(self) -> ItemVersion:
        """Which store this is and the number of its last change; cheap."""
        ...

    async def changes(self, after: int) -> tuple[int, dict[str, ItemChange]]:
        """The last number, and how every item stands whose last change has a number above ``after``."""
        ...


class NoItems:
    """Where there is no state: nothing was ever said, and nothing can be."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def change(self, wishes: Mapping[str, ItemWish]) -> None:
        """Raises StateUnavailable."""
        raise StateUnavailable(self._reason)

    async def version(self) -> ItemVersion:
        """Nothing was ever changed."""
        return ItemVersion()

    async def changes(self, after: int) -> tuple[int, dict[str, ItemChange]]:
        """None."""
        return after, {}
