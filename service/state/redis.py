"""State in Redis, shared by every replica. It is durable only if Redis is: set ``appendonly yes``."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    BusyLoadingError,
    ClusterError,
    ConnectionError,
    NoPermissionError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from service.state.events.kinds import ArmTotals, Domain, Event, History, KeptEvent, Outcome
from service.state.events.redis import RedisEvents
from service.state.events.redis_scripts import FORGET
from service.state.items.redis import RedisItems
from service.state.redis_connection import RedisAddress, ask_primary, close_client, is_from_replica
from service.state.redis_durability import SECTIONS, asked, shortcomings
from service.state.store import NO_WORTH, Changes, Claim, Erasure, StateBroken, StateUnavailable, Version

T = TypeVar("T")

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 0.5
PREFIX = "diffcdr:state:"
CLUSTER_PREFIX = "{diffcdr:state}:"
"""In a Cluster all keys share a hash tag, since the keys of a script must be on one node."""
_NAMES = ("sequence", "opted_out", "erased", "changed", "identity")
_PAGE = 10_000
_PASSING = (ClusterError, NoPermissionError, OutOfMemoryError)

# Scripts are atomic, so the sequence always agrees with the changes that it numbers.
_SET_OPT_OUT = """
local known = redis.call('HGET', KEYS[2], ARGV[1]) or '0'
if known ~= ARGV[2] then
    redis.call('SETNX', KEYS[5], ARGV[3])
    redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
    redis.call('ZADD', KEYS[4], redis.call('INCR', KEYS[1]), ARGV[1])
end
"""
_ERASE = (
    """
if redis.call('HSETNX', KEYS[3], ARGV[1], ARGV[2]) == 1 then
    redis.call('SETNX', KEYS[5], ARGV[3])
    redis.call('ZADD', KEYS[4], redis.call('INCR', KEYS[1]), ARGV[1])
end
"""
    + FORGET
    + """
return redis.call('HGET', KEYS[3], ARGV[1])
"""
)
# The request under an idempotency key, and the first answer.
_CLAIM = """
local known = redis.call('HMGET', KEYS[1], 'asked', 'answer')
if known[1] then
    return known
end
redis.call('HSET', KEYS[1], 'asked', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {ARGV[1], false}
"""
_RECORD_ANSWER = """
if redis.call('EXISTS', KEYS[1]) == 0 then
    return ARGV[1]
end
redis.call('HSETNX', KEYS[1], 'answer', ARGV[1])
return redis.call('HGET', KEYS[1], 'answer')
"""


class RedisStore:
    """A :class:`service.state.store.Store` in Redis. Calls end within ``TIMEOUT_SECONDS``; Redis may come and go.

    Redis is asked for its run id, since a restarted server may have lost changes, and whether its data would survive
    the next restart. A server is asked on every new connection, a Cluster on every ``version``.
    """

    def __init__(self, address: RedisAddress, *, require_durable: bool = False) -> None:
        """Does not connect yet.

        ``require_durable``: raise StateUnavailable as long as Redis could lose acknowledged changes.
        """
        self._require_durable = require_durable
        self._epoch = ""
        introduction = {} if address.is_cluster else {"redis_connect_func": self._get_to_know}
        self._client = address.open(timeout=TIMEOUT_SECONDS, decode_responses=True, **introduction)
        self._is_cluster = address.is_cluster
        self._prefix = CLUSTER_PREFIX if address.is_cluster else PREFIX
        self._keys = tuple(self._prefix + name for name in _NAMES)
        self._sequence, self._opted_out, self._erased, self._changed, self._identity = self._keys
        self._set_opt_out = self._client.register_script(_SET_OPT_OUT)
        self._erase = self._client.register_script(_ERASE)
        self._events = RedisEvents(
            self._client,
            self._answered,
            suppression=(self._opted_out, self._erased),
            prefix=self._prefix,
            node_of=self._identity if address.is_cluster else None,
        )
        self.items = RedisItems(self._client, self._answered, prefix=self._prefix)
        self._claim = self._client.register_script(_CLAIM)
        self._record_answer = self._client.register_script(_RECORD_ANSWER)

    async def set_opt_out(self, user_id: str, opted_out: bool) -> None:
        """As :class:`service.state.store.Store` says."""
        args = (user_id, str(int(opted_out)), uuid.uuid4().hex)
        await self._answered(lambda: self._set_opt_out(keys=self._keys, args=args))

    async def erase(self, user_id: str) -> Erasure:
        """As :class:`service.state.store.Store` says."""
        wanted = f"{datetime.now(UTC).isoformat(timespec='seconds')} {uuid.uuid4().hex}"
        keys = (*self._keys, *self._events.keys_of(user_id))
        args = (user_id, wanted, uuid.uuid4().hex)
        return _erasure(user_id, await self._answered(lambda: self._erase(keys=keys, args=args)))

    async def add_events(self, events: Sequence[Event], *, keep_seconds: float) -> list[Outcome]:
        """As :class:`service.state.store.Store` says. In a Cluster each user's events are added in a separate step."""
        return await self._events.add(events, keep_seconds=keep_seconds)

    async def histories(
        self, user_ids: Sequence[str], domain: Domain = "source", *, worth: Mapping[str, float] = NO_WORTH
    ) -> dict[str, History]:
        """As :class:`service.state.store.Store` says."""
        return await self._events.histories(user_ids, domain, worth=worth)

    async def trials(self) -> list[ArmTotals]:
        """As :class:`service.state.store.Store` says."""
        return await self._events.trials()

    async def events(self) -> AsyncIterator[KeptEvent]:
        """As :class:`service.state.store.Store` says."""
        async for event in self._events.all():
            yield event

    async def claim(self, key: str, asked: str, *, keep_seconds: float) -> Claim:
        """As :class:`service.state.store.Store` says."""
        keep = max(1, round(keep_seconds * 1000))
        keys = (f"{self._prefix}claim:{key}",)
        return Claim(*await self._answered(lambda: self._claim(keys=keys, args=(asked, keep))))

    async def record_answer(self, key: str, answer: str) -> str:
        """As :class:`service.state.store.Store` says."""
        keys = (f"{self._prefix}claim:{key}",)
        recorded: str = await self._answered(lambda: self._record_answer(keys=keys, args=(answer,)))
        return recorded

    async def version(self) -> Version:
        """As :class:`service.state.store.Store` says. Also raises StateUnavailable if no server accepts writes."""

        async def read() -> Any:
            async with self._client.pipeline(transaction=False) as pipe:
                # A write that changes nothing: a demoted server refuses it, though it still answers reads.
                pipe.delete(self._prefix + "none")
                pipe.get(self._identity)
                pipe.get(self._sequence)
                refusal, *found = await pipe.execute(raise_on_error=False)
            if isinstance(refusal, Exception) and is_from_replica(refusal):
                raise refusal
            for reply in found:
                if isinstance(reply, Exception):
                    raise reply
            return found

        if self._is_cluster:
            await self._answered(self._get_to_know_node)
        store, sequence = await self._answered(read)
        if (store is None) != (sequence is None):
            raise StateBroken(f"part of the state in Redis is missing: {self._identity} or {self._sequence}")
        if not (sequence or "0").isdecimal():
            raise StateBroken(f"the sequence in Redis, {self._sequence}, is not a number")
        return Version(store or "", int(sequence or 0), self._epoch)

    async def changes(self, after: int) -> Changes:
        """As :class:`service.state.store.Store` says."""
        suppressed: dict[str, bool] = {}
        last = after
        while True:
            found = await self._answered(partial(self._page, last))
            if not found:
                return Changes(last, suppressed)
            users = [user for user, _ in found]
            opted_out, erased = await self._answered(partial(self._states, users))
            for user, out, gone in zip(users, opted_out, erased, strict=True):
                if out is None and gone is None:
                    raise StateBroken(f"part of the state in Redis is missing: {self._opted_out} or {self._erased}")
                suppressed[user] = out == "1" or gone is not None
            last = int(found[-1][1])

    async def erasures(self) -> AsyncIterator[Erasure]:
        """As :class:`service.state.store.Store` says."""
        found: dict[str, str] = await self._answered(lambda: self._client.hgetall(self._erased))
        everyone = [_erasure(user_id, text) for user_id, text in found.items()]
        for erasure in sorted(everyone, key=lambda one: (one.at, one.user_id)):
            yield erasure

    async def close(self) -> None:
        """As :class:`service.state.store.Store` says."""
        await close_client(self._client)

    async def _page(self, after: int) -> Any:
        return await self._client.zrangebyscore(self._changed, f"({after}", "+inf", start=0, num=_PAGE, withscores=True)

    async def _states(self, users: list[str]) -> Any:
        async with self._client.pipeline(transaction=not self._is_cluster) as pipe:
            pipe.hmget(self._opted_out, users)
            pipe.hmget(self._erased, users)
            return await pipe.execute()

    async def _answered(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            return await ask_primary(self._client, call)
        except (ConnectionError, TimeoutError, BusyLoadingError, OSError) as error:
            raise StateUnavailable(f"Redis does not answer: {error}") from error
        except ResponseError as error:
            # Full, read-only, or during a failover: the data are intact. Any other error means that they are not.
            passing = isinstance(error, _PASSING) or str(error).startswith(("BUSY", "MISCONF", "NOREPLICAS"))
            kind = StateUnavailable if passing or is_from_replica(error) else StateBroken
            raise kind(f"Redis refuses: {error}") from error
        except RedisError as error:
            raise StateUnavailable(f"Redis does not answer: {error}") from error

    async def _get_to_know(self, connection: AbstractConnection) -> None:
        """Called on every new connection: log in, and find out which server this is."""
        await connection.on_connect()
        facts: dict[str, str] = {}
        for section in SECTIONS:
            facts |= await asked(connection, "INFO", section)
        facts |= await asked(connection, "CONFIG", "GET", "save")
        self._learn(facts)

    async def _get_to_know_node(self) -> None:
        """The same for the Cluster node that holds the state."""
        facts: dict[str, str] = {}
        for command in (("INFO",), ("CONFIG", "GET", "save")):
            try:
                node = self._client.get_node_from_key(self._identity)
                reply = await self._client.execute_command(*command, target_nodes=node)
            except ResponseError:  # this user may not ask
                continue
            # Older clients return a flat list of names and values.
            pairs = dict(zip(reply[::2], reply[1::2], strict=True)) if isinstance(reply, list) else dict(reply)
            facts |= {str(name): str(value) for name, value in pairs.items()}
        self._learn(facts)

    def _learn(self, facts: Mapping[str, str]) -> None:
        life = facts.get("run_id") or (self._epoch if self._is_cluster else "") or uuid.uuid4().hex
        found = shortcomings(facts)
        if life != self._epoch:
            for shortcoming in found:
                logger.error("acknowledged opt-outs may be lost: %s", shortcoming)
        self._epoch = life
        if found and self._require_durable:
            raise ConnectionError(f"it is not durable, which DIFFCDR_STATE_DURABLE requires: {'; '.join(found)}")


def _erasure(user_id: str, text: str) -> Erasure:
    at, _, receipt = text.partition(" ")
    return Erasure(user_id, receipt, at)
