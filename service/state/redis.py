"""State in Redis, shared by every replica. For it to be durable, Redis has to be: ``appendonly yes``."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    BusyLoadingError,
    ClusterError,
    ConnectionError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from service.state.store import (
    MAX_EVENTS_PER_USER,
    Changes,
    Claim,
    Domain,
    Erasure,
    Event,
    History,
    Outcome,
    StateBroken,
    StateUnavailable,
    Version,
)

T = TypeVar("T")

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 0.5
PREFIX = "diffcdr:state:"
_SEQUENCE, _OPTED_OUT, _ERASED, _CHANGED, _IDENTITY = _KEYS = tuple(
    PREFIX + name for name in ("sequence", "opted_out", "erased", "changed", "identity")
)
_EVENT_NUMBER = PREFIX + "event_number"
_PAGE = 10_000
_PASSING = (ClusterError, NoPermissionError, OutOfMemoryError, ReadOnlyError)
_MARKS: dict[Domain, str] = {"source": "", "target": "t"}

# Scripts run whole or not at all, so that the sequence and what it numbers never part.
_SET_OPT_OUT = """
local known = redis.call('HGET', KEYS[2], ARGV[1]) or '0'
if known ~= ARGV[2] then
    redis.call('SETNX', KEYS[5], ARGV[3])
    redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
    redis.call('ZADD', KEYS[4], redis.call('INCR', KEYS[1]), ARGV[1])
end
"""
_ERASE = """
if redis.call('HSETNX', KEYS[3], ARGV[1], ARGV[2]) == 1 then
    redis.call('SETNX', KEYS[5], ARGV[3])
    redis.call('ZADD', KEYS[4], redis.call('INCR', KEYS[1]), ARGV[1])
end
redis.call('DEL', KEYS[6], KEYS[7])
return redis.call('HGET', KEYS[3], ARGV[1])
"""
# A user's events are a hash, id -> "number rating item", the rating followed by "t" where the item is of the target,
# and a sorted set of ids by number to find the oldest.
_ADD_EVENTS = """
local user, keep, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
if redis.call('HGET', KEYS[2], user) == '1' or redis.call('HEXISTS', KEYS[3], user) == 1 then
    return false
end
local added = {}
for i = 4, #ARGV, 3 do
    local fresh = redis.call('HEXISTS', KEYS[6], ARGV[i]) == 0
    if fresh then
        local number = string.format('%.0f', redis.call('INCR', KEYS[8]))
        redis.call('HSET', KEYS[6], ARGV[i], number .. ' ' .. ARGV[i + 1] .. ' ' .. ARGV[i + 2])
        redis.call('ZADD', KEYS[7], number, ARGV[i])
    end
    added[#added + 1] = fresh and 1 or 0
end
for _ = most + 1, redis.call('ZCARD', KEYS[7]) do
    redis.call('HDEL', KEYS[6], redis.call('ZPOPMIN', KEYS[7])[1])
end
redis.call('PEXPIRE', KEYS[6], keep)
redis.call('PEXPIRE', KEYS[7], keep)
return added
"""
# What was asked under an idempotency key, and the first answer.
_CLAIM = """
local known = redis.call('HMGET', KEYS[1], 'asked', 'answer')
if known[1] then
    return known
end
redis.call('HSET', KEYS[1], 'asked', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {ARGV[1], false}
"""
_SETTLE = """
if redis.call('EXISTS', KEYS[1]) == 0 then
    return ARGV[1]
end
redis.call('HSETNX', KEYS[1], 'answer', ARGV[1])
return redis.call('HGET', KEYS[1], 'answer')
"""


class RedisStore:
    """A :class:`service.state.store.Store` in Redis. Calls end within ``TIMEOUT_SECONDS``; it may come and go.

    Whenever a connection is made it is asked which life of Redis this is, as one that was restarted may have lost what
    it knew, and whether it would survive the next restart.
    """

    def __init__(self, url: str, *, require_durable: bool = False) -> None:
        """Nothing is connected yet. Raises ValueError for a ``url`` that is none of redis's.

        ``require_durable``: raise StateUnavailable as long as Redis would lose what it acknowledged.
        """
        self._require_durable = require_durable
        self._epoch = ""
        self._client = Redis.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            # Once more where a connection was closed meanwhile; not where it hangs.
            retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
            decode_responses=True,
            redis_connect_func=self._get_to_know,
        )
        self._set_opt_out = self._client.register_script(_SET_OPT_OUT)
        self._erase = self._client.register_script(_ERASE)
        self._add_events = self._client.register_script(_ADD_EVENTS)
        self._claim = self._client.register_script(_CLAIM)
        self._settle = self._client.register_script(_SETTLE)

    async def set_opt_out(self, user_id: str, opted_out: bool) -> None:
        """As :class:`service.state.store.Store` says."""
        await _answered(self._set_opt_out(keys=_KEYS, args=(user_id, str(int(opted_out)), uuid.uuid4().hex)))

    async def erase(self, user_id: str) -> Erasure:
        """As :class:`service.state.store.Store` says."""
        wanted = f"{datetime.now(UTC).isoformat(timespec='seconds')} {uuid.uuid4().hex}"
        keys = (*_KEYS, *_event_keys(user_id))
        return _erasure(user_id, await _answered(self._erase(keys=keys, args=(user_id, wanted, uuid.uuid4().hex))))

    async def add_events(self, events: Sequence[Event], *, keep_seconds: float) -> list[Outcome]:
        """As :class:`service.state.store.Store` says."""
        by_user: dict[str, list[int]] = {}
        for index, event in enumerate(events):
            by_user.setdefault(event.user_id, []).append(index)
        keep = max(1, round(keep_seconds * 1000))
        async with self._client.pipeline(transaction=True) as pipe:
            for user_id, indices in by_user.items():
                args: list[str | int] = [user_id, keep, MAX_EVENTS_PER_USER]
                for event in (events[index] for index in indices):
                    args += (event.event_id, repr(event.rating) + _MARKS[event.domain], event.item_id)
                keys = (*_KEYS, *_event_keys(user_id), _EVENT_NUMBER)
                await self._add_events(keys=keys, args=args, client=pipe)
            replies = await _answered(pipe.execute())
        outcomes: list[Outcome] = ["suppressed"] * len(events)
        for indices, added in zip(by_user.values(), replies, strict=True):
            for index, fresh in zip(indices, added or (), strict=added is not None):
                outcomes[index] = "accepted" if fresh else "duplicate"
        return outcomes

    async def histories(self, user_ids: Sequence[str], domain: Domain = "source") -> dict[str, History]:
        """As :class:`service.state.store.Store` says."""
        async with self._client.pipeline(transaction=False) as pipe:
            for user_id in user_ids:
                pipe.hvals(_event_keys(user_id)[0])
            found = await _answered(pipe.execute())
        histories = {user: _history(texts, domain) for user, texts in zip(user_ids, found, strict=True) if texts}
        return {user: history for user, history in histories.items() if history}

    async def claim(self, key: str, asked: str, *, keep_seconds: float) -> Claim:
        """As :class:`service.state.store.Store` says."""
        keep = max(1, round(keep_seconds * 1000))
        return Claim(*await _answered(self._claim(keys=(f"{PREFIX}claim:{key}",), args=(asked, keep))))

    async def settle(self, key: str, answer: str) -> str:
        """As :class:`service.state.store.Store` says."""
        settled: str = await _answered(self._settle(keys=(f"{PREFIX}claim:{key}",), args=(answer,)))
        return settled

    async def version(self) -> Version:
        """As :class:`service.state.store.Store` says."""
        store, sequence = await _answered(self._client.mget(_IDENTITY, _SEQUENCE))
        if (store is None) != (sequence is None):
            raise StateBroken(f"of the state in Redis a part is gone: {_IDENTITY} or {_SEQUENCE}")
        if not (sequence or "0").isdecimal():
            raise StateBroken(f"the sequence in Redis, {_SEQUENCE}, is no number")
        return Version(store or "", int(sequence or 0), self._epoch)

    async def changes(self, after: int) -> Changes:
        """As :class:`service.state.store.Store` says."""
        suppressed: dict[str, bool] = {}
        last = after
        while True:
            found = await _answered(
                self._client.zrangebyscore(_CHANGED, f"({last}", "+inf", start=0, num=_PAGE, withscores=True)
            )
            if not found:
                return Changes(last, suppressed)
            users = [user for user, _ in found]
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.hmget(_OPTED_OUT, users)
                pipe.hmget(_ERASED, users)
                opted_out, erased = await _answered(pipe.execute())
            for user, out, gone in zip(users, opted_out, erased, strict=True):
                if out is None and gone is None:
                    raise StateBroken(f"of the state in Redis a part is gone: {_OPTED_OUT} or {_ERASED}")
                suppressed[user] = out == "1" or gone is not None
            last = int(found[-1][1])

    async def erasures(self) -> AsyncIterator[Erasure]:
        """As :class:`service.state.store.Store` says."""
        found = await _answered(cast(Awaitable[dict[str, str]], self._client.hgetall(_ERASED)))
        everyone = [_erasure(user_id, text) for user_id, text in found.items()]
        for erasure in sorted(everyone, key=lambda one: (one.at, one.user_id)):
            yield erasure

    async def close(self) -> None:
        """As :class:`service.state.store.Store` says."""
        await self._client.aclose()

    async def _get_to_know(self, connection: AbstractConnection) -> None:
        """Called with every new connection: log in, and look whom it reaches."""
        await connection.on_connect()
        facts: dict[str, str] = {}
        for section in ("server", "persistence", "memory", "replication"):
            facts |= await _asked(connection, "INFO", section)
        facts |= await _asked(connection, "CONFIG", "GET", "save")
        life = facts.get("run_id") or uuid.uuid4().hex
        found = shortcomings(facts)
        if life != self._epoch:
            for shortcoming in found:
                logger.error("acknowledged opt-outs may be lost: %s", shortcoming)
        self._epoch = life
        if found and self._require_durable:
            raise ConnectionError(f"it is not durable, which DIFFCDR_STATE_DURABLE requires: {'; '.join(found)}")


def _event_keys(user_id: str) -> tuple[str, str]:
    return f"{PREFIX}events:{user_id}", f"{PREFIX}event_order:{user_id}"


def _history(texts: Sequence[str], domain: Domain) -> History:
    parts = sorted((text.split(" ", 2) for text in texts), key=lambda part: int(part[0]))
    mark = _MARKS["target"]
    return tuple(
        (item_id, float(rating.removesuffix(mark)))
        for _, rating, item_id in parts
        if rating.endswith(mark) == (domain == "target")
    )


def _erasure(user_id: str, text: str) -> Erasure:
    at, _, receipt = text.partition(" ")
    return Erasure(user_id, receipt, at)


async def _asked(connection: AbstractConnection, *command: str) -> dict[str, str]:
    """Facts by name; none where Redis does not tell this user."""
    await connection.send_command(*command)
    try:
        reply = await connection.read_response()
    except ResponseError:
        return {}
    if isinstance(reply, str):
        return dict(line.partition(":")[::2] for line in reply.splitlines() if ":" in line)
    pairs = list(reply.items()) if isinstance(reply, dict) else list(zip(reply[::2], reply[1::2], strict=True))
    return {str(name): str(value) for name, value in pairs}


def shortcomings(facts: Mapping[str, str]) -> tuple[str, ...]:
    """Why a Redis of which ``INFO`` and ``CONFIG GET save`` tell ``facts`` may lose what it acknowledged."""
    found: list[str] = []
    if "aof_enabled" not in facts:
        found.append("this user may not ask Redis (INFO) whether it keeps anything; allow it, or see to it yourself")
    elif facts["aof_enabled"] == "0" and not facts.get("save", ""):
        found.append("Redis keeps nothing on disk, a restart loses everything; set appendonly yes")
    elif facts["aof_enabled"] == "0":
        found.append("Redis writes snapshots only, a restart loses the last minutes; set appendonly yes")
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        found.append(f"Redis evicts what it has when full ({policy}); set maxmemory-policy noeviction")
    if facts.get("role") == "slave":
        found.append("this Redis is a replica, which lags behind and takes no writes; name the primary")
    return tuple(found)


async def _answered(reply: Any) -> Any:
    try:
        return await reply
    except (ConnectionError, TimeoutError, BusyLoadingError, OSError) as error:
        raise StateUnavailable(f"Redis does not answer: {error}") from error
    except ResponseError as error:
        # Full, read-only, in the middle of a failover: as it was. Anything else is not what was left there.
        passing = isinstance(error, _PASSING) or str(error).startswith(("BUSY", "MISCONF", "NOREPLICAS"))
        kind = StateUnavailable if passing else StateBroken
        raise kind(f"Redis refuses: {error}") from error
    except RedisError as error:
        raise StateUnavailable(f"Redis does not answer: {error}") from error
