"""What the service must remember about people: who opted out, who is to be forgotten, and what newcomers rated.

One contract, kept by :class:`service.state.sqlite.SqliteStore` and :class:`service.state.redis.RedisStore`:

- A write is durable before it returns.
- A user is *suppressed* while opted out, and for ever once erased.
- Events of a suppressed user are not taken, and an erasure removes those there are, and what they counted for, in the
  same step.
- ``changes`` makes every replica's copy follow: each write takes the next number of one sequence.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from service.state.events.kinds import ArmTotals, Domain, Event, History, KeptEvent, Outcome

NO_WORTH: Mapping[str, float] = MappingProxyType({})


class StateUnavailable(Exception):
    """The store cannot be reached or written; nothing was changed as far as anyone knows. Try again later."""


class StateBroken(StateUnavailable):
    """What answers is not the store as it was left: damaged, replaced, emptied or rolled back.

    Unlike one that is only out of reach, it may know less than was acknowledged.
    """


@dataclass(frozen=True)
class Erasure:
    """A user to be forgotten: ``receipt`` was given to whoever asked, ``at`` is an ISO 8601 time in UTC."""

    user_id: str
    receipt: str
    at: str


@dataclass(frozen=True)
class Claim:
    """What is known under an idempotency key: what was asked (a hash), and the answer once there is one."""

    asked: str
    answer: str | None = None


@dataclass(frozen=True)
class Version:
    """How far the sequence has come. ``store`` is drawn at random when a store is first written to.

    ``epoch`` names one life of it: what was known in another may have been rolled back since.
    """

    store: str = ""
    sequence: int = 0
    epoch: str = ""


@dataclass(frozen=True)
class Changes:
    """What happened after some number of the sequence: ``suppressed[user_id]`` is how it stands now."""

    sequence: int
    suppressed: dict[str, bool]


class Store(Protocol):
    """Opt-outs, erasures and events.

    Every method raises StateUnavailable where the store does not answer in time, and StateBroken where what answers is
    not what was left there.
    """

    async def set_opt_out(self, user_id: str, opted_out: bool) -> None:
        """Note that the user wants no personal lists, or wants them again. Repeating it changes nothing."""
        ...

    async def erase(self, user_id: str) -> Erasure:
        """Suppress the user for ever and note the id for the next training to leave out; the first receipt stays."""
        ...

    async def add_events(self, events: Sequence[Event], *, keep_seconds: float) -> list[Outcome]:
        """Remember ``events``; what became of each, in their order.

        A duplicate is an event whose user has one of the same ``event_id``; the first stays as it is. Beyond
        ``MAX_EVENTS_PER_USER`` the oldest go, of those that are liked and of others by themselves. Who is accepted
        counts for its ``trial`` in the same step. What a user has is forgotten ``keep_seconds`` after the last of it
        was sent. Where this raises, some may have been taken; sending all again is harmless.
        """
        ...

    async def histories(
        self, user_ids: Sequence[str], domain: Domain = "source", *, worth: Mapping[str, float] = NO_WORTH
    ) -> dict[str, History]:
        """What those of ``user_ids`` liked who have any such events of ``domain``.

        An event without a rating counts as the ``worth`` of its type, and not at all where that has none. Cheap where
        nobody has events: it may be asked before every answer.
        """
        ...

    async def trials(self) -> list[ArmTotals]:
        """What was counted for each arm of each comparison, those counted for last first.

        Of users who were erased nothing is in it. It is forgotten with the events: as long after the last of them.
        """
        ...

    def events(self) -> AsyncIterator[KeptEvent]:
        """Every event that is kept, in any order, those of users who opted out meanwhile too.

        Who wants to use them asks ``changes`` afterwards; :mod:`service.state.exporting` does.
        """
        ...

    async def claim(self, key: str, asked: str, *, keep_seconds: float) -> Claim:
        """Note that ``asked`` was asked under ``key``, unless something was in the last ``keep_seconds``; what is."""
        ...

    async def record_answer(self, key: str, answer: str) -> str:
        """Note the answer under ``key``, if there is none; the one there is (``answer`` if the claim is forgotten)."""
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
