"""The state: opt-outs, erasures, and events of users.

:class:`service.state.sqlite.SqliteStore` and :class:`service.state.redis.RedisStore` implement one contract:

- A write is durable before it returns.
- A user is *suppressed* while opted out, and for ever once erased.
- Events of a suppressed user are refused. An erasure removes the user's events and their part of the counts in one
  step.
- Each write takes the next number of one sequence, so that every replica's copy can follow with ``changes``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from service.state.items.store import ItemStore

from service.state.events.kinds import ArmTotals, Domain, Event, History, KeptEvent, Outcome

NO_WORTH: Mapping[str, float] = MappingProxyType({})


class StateUnavailable(Exception):
    """The store cannot be reached or written; as far as known, nothing was changed. Try again later."""


class StateBroken(StateUnavailable):
    """The store is damaged, or was replaced, emptied or rolled back.

    Unlike a store that is only unreachable, it may lack changes that were acknowledged.
    """


@dataclass(frozen=True)
class Erasure:
    """An erased user: ``receipt`` was returned to the caller, ``at`` is an ISO 8601 time in UTC."""

    user_id: str
    receipt: str
    at: str


@dataclass(frozen=True)
class Claim:
    """The entry of an idempotency key: a hash of the request, and the answer once there is one."""

    asked: str
    answer: str | None = None


@dataclass(frozen=True)
class Version:
    """The last number of the sequence. ``store`` is drawn at random when a store is first written to.

    ``epoch`` changes when the store restarts or is reopened: earlier changes may have been rolled back.
    """

    store: str = ""
    sequence: int = 0
    epoch: str = ""


@dataclass(frozen=True)
class Changes:
    """Changes after some number of the sequence; ``suppressed[user_id]`` is the current value."""

    sequence: int
    suppressed: dict[str, bool]


class Store(Protocol):
    """Opt-outs, erasures and events.

    Every method raises StateUnavailable if the store does not answer in time, and StateBroken if it is damaged or was
    replaced.
    """

    @property
    def items(self) -> ItemStore:
        """Changes of items."""
        ...

    async def set_opt_out(self, user_id: str, opted_out: bool) -> None:
        """Record that the user wants no personal lists, or wants them again. Repeating it changes nothing."""
        ...

    async def erase(self, user_id: str) -> Erasure:
        """Suppress the user for ever, and list the id for the next training to leave out. The first receipt stays."""
        ...

    async def add_events(self, events: Sequence[Event], *, keep_seconds: float) -> list[Outcome]:
        """Store ``events``; the outcome of each, in their order.

        An event is a duplicate if its user has one with the same ``event_id``; the first stays as it is. Beyond
        ``MAX_EVENTS_PER_USER`` the oldest are removed, separately for liked events and others. An accepted event is
        counted for its ``trial`` in the same step. A user's events are removed ``keep_seconds`` after the last one was
        sent. If this raises, some events may have been stored; sending all again is harmless.
        """
        ...

    async def histories(
        self, user_ids: Sequence[str], domain: Domain = "source", *, worth: Mapping[str, float] = NO_WORTH
    ) -> dict[str, History]:
        """The liked items of each of ``user_ids`` who has events of ``domain``.

        An event without a rating counts as the ``worth`` of its type, or not at all if the type has none. This is cheap
        for users without events, so it can be called before every answer.
        """
        ...

    async def trials(self) -> list[ArmTotals]:
        """The counts of each arm of each experiment, most recently changed first.

        Erased users are not in them. Counts are removed as long after the last event as events are.
        """
        ...

    def events(self) -> AsyncIterator[KeptEvent]:
        """Every stored event, in any order, including those of users who have since opted out.

        Callers must check ``changes`` afterwards, as :mod:`service.state.exporting` does.
        """
        ...

    async def claim(self, key: str, asked: str, *, keep_seconds: float) -> Claim:
        """The claim of ``key``: that of the last ``keep_seconds``, or a new one for the request ``asked``."""
        ...

    async def record_answer(self, key: str, answer: str) -> str:
        """Record the answer under ``key`` if it has none; the recorded one (``answer`` if the claim has expired)."""
        ...

    async def version(self) -> Version:
        """Which store this is, and the number of its last change. Cheap enough to call before every answer."""
        ...

    async def changes(self, after: int) -> Changes:
        """The current state of every user whose last change has a number above ``after``."""
        ...

    def erasures(self) -> AsyncIterator[Erasure]:
        """Every erasure, by time."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...
