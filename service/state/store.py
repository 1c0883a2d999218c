"""What the service must remember about people: who opted out, and who is to be forgotten.

One contract, kept by :class:`service.state.sqlite.SqliteStore` and :class:`service.state.redis.RedisStore`:

- A write is durable before it returns.
- A user is *suppressed* while opted out, and for ever once erased.
- ``changes`` makes every replica's copy follow: each write takes the next number of one sequence.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


class StateUnavailable(Exception):
    """The store cannot be reached or written; nothing was changed as far as anyone knows. Try again later."""


@dataclass(frozen=True)
class Erasure:
    """A user to be forgotten: ``receipt`` was given to whoever asked, ``at`` is an ISO 8601 time in UTC."""

    user_id: str
    receipt: str
    at: str


@dataclass(frozen=True)
class Version:
    """How far the sequence has come. ``store`` is drawn at random when a store is first written to."""

    store: str = ""
    sequence: int = 0


@dataclass(frozen=True)
class Changes:
    """What happened after some number of the sequence: ``suppressed[user_id]`` is how it stands now."""

    sequence: int
    suppressed: dict[str, bool]


class Store(Protocol):
    """Opt-outs and erasures. Every method raises StateUnavailable where the store does not answer in time."""

    async def set_opt_out(self, user_id: str, opted_out: bool) -> None:
        """Note that the user wants no personal lists, or wants them again. Repeating it changes nothing."""
        ...

    async def erase(self, user_id: str) -> Erasure:
        """Suppress the user for ever and note the id for the next training to leave out; the first receipt stays."""
        ...

    async def version(self) -> Version:
        """Which store this is and the number of its last change. Cheap enough to ask before every answer."""
        ...

    async def changes(self, after: int) -> Changes:
        """How every user stands whose last change has a number above ``after``."""
        ...

    def erasures(self) -> AsyncIterator[Erasure]:
        """Every erasure, by time."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
