"""Source vectors in Redis, for tables that do not fit into the memory of each replica.

Layout, shared by ``diffcdr push`` and the service: one hash per bundle, from user id to vector as little-endian
float32. The empty field, which is not an id, holds the number of users; a hash without it is not used. A push fills a
temporary key and renames it at the end, so a partial push is never read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from redis.exceptions import RedisError

from diffcdr.arrays import Float32Array
from service.state.redis_connection import RedisAddress, close_client

logger = logging.getLogger(__name__)


PREFIX = "diffcdr:vectors:"
COUNT_FIELD = ""
TIMEOUT_SECONDS = 0.25
PAUSE_SECONDS = 1.0
"""How long Redis is not asked again after it did not answer, so that callers do not wait one after another."""


def vectors_key(bundle_id: str, *, is_cluster: bool = False) -> str:
    """The hash with the source vectors of bundle ``bundle_id``; in a Cluster, all keys of a push share its hash tag."""
    return f"{PREFIX}{{{bundle_id}}}" if is_cluster else f"{PREFIX}{bundle_id}"


@dataclass(frozen=True)
class Found:
    """Source vectors float32 [source_dim] by user; ``complete`` is False if Redis did not answer."""

    vectors: dict[str, Float32Array]
    complete: bool


@dataclass
class _Trip:
    """One request to Redis, for all callers who ask before it is sent."""

    users: set[str] = field(default_factory=set)
    answer: asyncio.Future[dict[str, Float32Array] | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class RedisVectors:
    """Reads source vectors in batches, one round trip for all pending callers, and caches the latest ones.

    Redis may come and go. While it does not answer, callers wait at most ``TIMEOUT_SECONDS``, and cached vectors
    are used.
    """

    def __init__(self, address: RedisAddress, *, keep: int) -> None:
        """``keep``: number of vectors to cache."""
        self._client: Any = address.open(timeout=TIMEOUT_SECONDS)
        self._is_cluster = address.is_cluster
        self._keep = keep
        self._kept: OrderedDict[tuple[str, str], Float32Array] = OrderedDict()
        self._bundles: set[str] = set()
        """Bundles with cached vectors: few, though ``_kept`` may be long."""
        self._next: dict[str, _Trip] = {}
        self._travelling: dict[str, asyncio.Task[None]] = {}
        self._not_before = 0.0

    async def find(self, bundle_id: str, users: Iterable[str], *, dim: int) -> Found:
        """The vectors of ``users``, ``dim`` numbers each. Never raises."""
        found: dict[str, Float32Array] = {}
        missing: set[str] = set()
        for user in users:
            vector = self._kept.get((bundle_id, user))
            if vector is None:
                missing.add(user)
            else:
                self._kept.move_to_end((bundle_id, user))
                found[user] = vector
        if not missing:
            return Found(found, complete=True)
        trip = self._next.setdefault(bundle_id, _Trip())
        trip.users |= missing
        if bundle_id not in self._travelling:
            self._travelling[bundle_id] = asyncio.get_running_loop().create_task(self._travel(bundle_id, dim))
        fetched = await asyncio.shield(trip.answer)
        if fetched is None:
            return Found(found, complete=False)
        found.update((user, fetched[user]) for user in missing if user in fetched)
        return Found(found, complete=True)

    def forget(self, user_id: str) -> None:
        """Remove a user from the cache."""
        for bundle_id in self._bundles:
            self._kept.pop((bundle_id, user_id), None)

    async def close(self) -> None:
        """Close connections."""
        await asyncio.gather(*self._travelling.values(), return_exceptions=True)
        await close_client(self._client)

    async def _travel(self, bundle_id: str, dim: int) -> None:
        """One trip after another, as long as callers are waiting."""
        # Callers in the same turn of the event loop share the trip.
        await asyncio.sleep(0)
        while (trip := self._next.pop(bundle_id, None)) is not None:
            trip.answer.set_result(await self._ask(bundle_id, sorted(trip.users), dim=dim))
        del self._travelling[bundle_id]

    async def _ask(self, bundle_id: str, users: list[str], *, dim: int) -> dict[str, Float32Array] | None:
        if time.monotonic() < self._not_before:
            return None
        try:
            fields = [COUNT_FIELD, *(user.encode("utf-8", "surrogatepass") for user in users)]
            count, *values = await self._client.execute_command(
                "HMGET", vectors_key(bundle_id, is_cluster=self._is_cluster), *fields
            )
        except (RedisError, OSError, TimeoutError) as error:
            self._pause(f"source vectors cannot be read from Redis: {error}")
            return None
        if count is None:
            self._pause(f"Redis has no source vectors of bundle {bundle_id}; run: diffcdr push")
            return None
        self._bundles.add(bundle_id)
        vectors: dict[str, Float32Array] = {}
        for user, value in zip(users, values, strict=True):
            if value is None:
                continue
            if len(value) != 4 * dim:
                self._pause(f"a source vector in Redis has {len(value)} bytes, not {4 * dim}; run: diffcdr push")
                return None
            vectors[user] = self._kept[bundle_id, user] = np.frombuffer(value, dtype="<f4")
        while len(self._kept) > self._keep:
            self._kept.popitem(last=False)
        return vectors

    def _pause(self, why: str) -> None:
        logger.warning("%s; Redis is not asked for other users' vectors for %g s", why, PAUSE_SECONDS)
        self._not_before = time.monotonic() + PAUSE_SECONDS
