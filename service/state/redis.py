"""State in Redis, shared by every replica. For it to be durable, Redis has to be: ``appendonly yes``."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service.state.store import Changes, Erasure, StateUnavailable, Version

T = TypeVar("T")

TIMEOUT_SECONDS = 0.5
PREFIX = "diffcdr:state:"
_SEQUENCE, _OPTED_OUT, _ERASED, _CHANGED, _IDENTITY = _KEYS = tuple(
    PREFIX + name for name in ("sequence", "opted_out", "erased", "changed", "identity")
)
_PAGE = 10_000

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
return redis.call('HGET', KEYS[3], ARGV[1])
"""


class RedisStore:
    """A :class:`service.state.store.Store` in Redis. Calls end within ``TIMEOUT_SECONDS``; it may come and go."""

    def __init__(self, url: str) -> None:
        """Nothing is connected yet. Raises ValueError for a ``url`` that is none of redis's."""
        self._client = Redis.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 1),
            decode_responses=True,
        )
        self._set_opt_out = self._client.register_script(_SET_OPT_OUT)
        self._erase = self._client.register_script(_ERASE)

    async def set_opt_out(self, user_id: str, opted_out: bool) -> None:
        """As :class:`service.state.store.Store` says."""
        await _answered(self._set_opt_out(keys=_KEYS, args=(user_id, str(int(opted_out)), uuid.uuid4().hex)))

    async def erase(self, user_id: str) -> Erasure:
        """As :class:`service.state.store.Store` says."""
        wanted = f"{datetime.now(UTC).isoformat(timespec='seconds')} {uuid.uuid4().hex}"
        return _erasure(user_id, await _answered(self._erase(keys=_KEYS, args=(user_id, wanted, uuid.uuid4().hex))))

    async def version(self) -> Version:
        """As :class:`service.state.store.Store` says."""
        store, sequence = await _answered(self._client.mget(_IDENTITY, _SEQUENCE))
        return Version(store or "", int(sequence or 0))

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


def _erasure(user_id: str, text: str) -> Erasure:
    at, _, receipt = text.partition(" ")
    return Erasure(user_id, receipt, at)


async def _answered(reply: Any) -> Any:
    try:
        return await reply
    except (RedisError, OSError, TimeoutError) as error:
        raise StateUnavailable(f"Redis does not answer: {error}") from error
