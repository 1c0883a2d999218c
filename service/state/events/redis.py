"""Events in Redis.

A user's events are a hash, id -> text, and a sorted set of ids by number, to find the oldest. There is one such pair
for events that count in lists like ratings, and one for all others, so that impressions neither push out ratings nor
are read before an answer. Shared by all users: the number of each hour's first event, and the totals of experiments.

The text of a rating is ``NUMBER RATING ITEM``; ``t`` follows the rating of a target item. Any other event has a ``+``
before the rating, which is ``inf`` if none was given. Its type, recommendation id, position and time follow the item,
each after a NUL. Earlier versions, which only know ratings, read this as a rating without effect of an unknown item.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from service.state.events.hours import EventHours, hour_of
from service.state.events.kinds import (
    MAX_EVENTS_PER_USER,
    RATING,
    ArmTotals,
    Domain,
    Event,
    History,
    KeptEvent,
    Outcome,
    Trial,
)
from service.state.events.redis_scripts import ADD, TOTALS

_SCANNED = 1_000
_MARKS: dict[Domain, str] = {"source": "", "target": "t"}
_SEPARATOR = "\0"

Answered = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Makes a call; errors of Redis become errors of the store."""


class RedisEvents:
    """The events of a :class:`service.state.redis.RedisStore`."""

    def __init__(
        self, client: Any, answered: Answered, *, suppression: tuple[str, str], prefix: str, node_of: str | None
    ) -> None:
        """``suppression``: keys of opt-outs and erasures; ``node_of``: in a Cluster, a key on the state's node."""
        self._client = client
        self._answered = answered
        self._prefix = prefix
        self._node_of = node_of
        out, gone = suppression
        self._before = (prefix + "sequence", out, gone, prefix + "changed", prefix + "identity")
        self._totals = prefix + "trials"
        self._add = client.register_script(ADD)

    def keys_of(self, user_id: str) -> tuple[str, ...]:
        """``KEYS[6]`` to ``KEYS[11]`` of the scripts: the user's five keys, and the totals of experiments."""
        names = ("events", "event_order", "signals", "signal_order", "tallies")
        return (*(f"{self._prefix}{name}:{user_id}" for name in names), self._totals)

    async def add(self, events: Sequence[Event], *, keep_seconds: float) -> list[Outcome]:
        """See ``Store.add_events``."""
        by_user: dict[str, list[int]] = defaultdict(list)
        for index, event in enumerate(events):
            by_user[event.user_id].append(index)
        now = time.time()
        keep = max(1, round(keep_seconds * 1000))
        numbering = (self._prefix + "event_number", self._prefix + "event_hours")
        calls = []
        for user_id, indices in by_user.items():
            args: list[str | int | float] = [user_id, keep, keep_seconds, MAX_EVENTS_PER_USER, hour_of(now), now]
            for index in indices:
                args += _arguments(events[index])
            calls.append(((*self._before, *self.keys_of(user_id), *numbering), args))

        async def add() -> list[Any]:
            if self._node_of is not None:
                return [await self._add(keys=keys, args=args) for keys, args in calls]
            async with self._client.pipeline(transaction=True) as pipe:
                for keys, args in calls:
                    await self._add(keys=keys, args=args, client=pipe)
                replies: list[Any] = await pipe.execute()
                return replies

        outcomes: list[Outcome] = ["suppressed"] * len(events)
        for indices, added in zip(by_user.values(), await self._answered(add), strict=True):
            for index, fresh in zip(indices, added or (), strict=added is not None):
                outcomes[index] = "accepted" if fresh else "duplicate"
        return outcomes

    async def histories(
        self, user_ids: Sequence[str], domain: Domain, *, worth: Mapping[str, float]
    ) -> dict[str, History]:
        """See ``Store.histories``."""

        async def read() -> list[Any]:
            async with self._client.pipeline(transaction=False) as pipe:
                for user_id in user_ids:
                    pipe.hvals(self.keys_of(user_id)[0])
                replies: list[Any] = await pipe.execute()
                return replies

        found = await self._answered(read) if user_ids else []
        histories = {user: _history(texts, domain, worth) for user, texts in zip(user_ids, found, strict=True) if texts}
        return {user: history for user, history in histories.items() if history}

    async def trials(self) -> list[ArmTotals]:
        """See ``Store.trials``."""
        found: dict[str, str] = await self._answered(lambda: self._client.hgetall(self._totals))
        arms = [name.removesuffix(" about") for name in found if name.endswith(" about")]
        arms.sort(key=lambda arm: (-float(found[f"{arm} last"]), arm))
        return [_totals(arm, found) for arm in arms]

    async def all(self) -> AsyncIterator[KeptEvent]:
        """See ``Store.events``."""
        for place in (0, 2):
            prefix, seen = self.keys_of("")[place], set[str]()
            async for keys in self._key_pages(f"{prefix}*"):
                fresh = [key for key in dict.fromkeys(keys) if key not in seen]
                seen.update(fresh)

                async def read(keys: Sequence[str] = fresh) -> list[Any]:
                    async with self._client.pipeline(transaction=False) as pipe:
                        for key in keys:
                            pipe.hvals(key)
                        pipe.zrange(self._prefix + "event_hours", 0, -1, withscores=True)
                        replies: list[Any] = await pipe.execute()
                        return replies

                *found, entries = await self._answered(read)
                hours = EventHours((int(first), int(hour)) for hour, first in entries)
                for key, texts in zip(fresh, found, strict=True):
                    for text in texts:
                        yield _kept(key.removeprefix(prefix), text, hours)

    async def _key_pages(self, pattern: str) -> AsyncIterator[list[str]]:
        """Keys of ``pattern``, a page at a time; some may come twice."""
        # All keys of a state share a hash tag, so one node of a Cluster has them.
        node = {} if self._node_of is None else {"target_nodes": self._client.get_node_from_key(self._node_of)}
        cursor: Any = 0
        while True:
            reply = await self._answered(partial(self._client.scan, cursor, match=pattern, count=_SCANNED, **node))
            cursor, keys = reply
            if isinstance(cursor, dict):
                cursor = next(iter(cursor.values()))
            yield keys
            if not int(cursor):
                return


def _arguments(event: Event) -> Iterator[str]:
    """The arguments of the script for one event."""
    rating, item = repr(math.inf if event.rating is None else event.rating) + _MARKS[event.domain], event.item_id
    if not event.is_plain:
        rest = (event.type, event.recommendation_id, event.position, event.at)
        rating = f"+{rating}"
        item = _SEPARATOR.join([item, *("" if part is None else str(part) for part in rest)])
    yield from (event.event_id, str(int(event.liked)), rating, item)
    trial = event.trial
    if trial is None or event.counter is None:
        yield from ("", "", "", "")
    else:
        yield from (trial.experiment, trial.arm, f"{trial.percent!r} {trial.bundle}", event.counter)


def _totals(name: str, found: Mapping[str, str]) -> ArmTotals:
    experiment, _, arm = name.partition(" ")
    kind: Literal["stable", "canary"] = "canary" if arm == "canary" else "stable"
    percent, _, bundle = found[f"{name} about"].partition(" ")
    return ArmTotals(
        Trial(experiment, kind, float(percent), bundle), *(int(found.get(f"{name} {total}", 0)) for total in TOTALS)
    )


def _history(texts: Sequence[str], domain: Domain, worth: Mapping[str, float]) -> History:
    events = sorted((_kept("", text) for text in texts), key=lambda event: event.number)
    valued = (
        (event.item_id, worth.get(event.type) if event.rating is None else event.rating)
        for event in events
        if event.domain == domain
    )
    return tuple((item, rating) for item, rating in valued if rating is not None)


_NO_HOURS = EventHours(())


def _kept(user_id: str, text: str, hours: EventHours = _NO_HOURS) -> KeptEvent:
    number, rating, item = text.split(" ", 2)
    mark = _MARKS["target"]
    domain: Domain = "target" if rating.endswith(mark) else "source"
    kind, recommendation, position, at = RATING, "", "", ""
    if rating.startswith("+"):
        item, kind, recommendation, position, at = item.rsplit(_SEPARATOR, 4)
    value = float(rating.removesuffix(mark))
    return KeptEvent(
        int(number),
        user_id,
        item,
        None if math.isinf(value) else value,
        domain,
        int(at) if at else hours.of(int(number)),
        kind,
        recommendation or None,
        int(position) if position else None,
    )
