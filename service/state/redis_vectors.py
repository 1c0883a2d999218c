"""Source vectors kept in Redis, for fleets whose tables do not fit each replica.

Layout, shared by ``diffcdr push`` and the service: one hash a bundle, from a user's id to the vector as little-endian
float32. The empty field, which is no id, says how many users there are; without it nothing of the hash is believed.
A push fills another key and renames it at the end, so half a push is never read.
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
"""After Redis did not answer, for how long it is not asked again: callers are not to wait for it one after another."""


def vectors_key(bundle_id: str, *, is_cluster: bool = False) -> str:
    """The hash with the source vectors of bundle ``bundle_id``; in a Cluster, what a push writes shares its tag."""
    return f"{PREFIX}{{{bundle_id}}}" if is_cluster else f"{PREFIX}{bundle_id}"


@dataclass(frozen=True)
class Found:
    """Source vectors float32 [source_dim] by user; ``complete`` is False where Redis could not be asked for all."""

    vectors: dict[str, Float32Array]
    complete: bool


@dataclass
class _Trip:
    """One question to Redis, for everybody who asks before it sets off."""

    users: set[str] = field(default_factory=set)
    answer: asyncio.Future[dict[str, Float32Array] | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class RedisVectors:
    """Reads source vectors: all that is asked for at a time in one round trip, with the last ones kept here.

    Redis may come and go. While it is away nobody waits for it longer than ``TIMEOUT_SECONDS``, and what is kept
    here is used.
    """

    def __init__(self, address: RedisAddress, *, keep: int) -> None:
        """``keep``: vectors to hold on to."""
        self._client: Any = address.open(timeout=TIMEOUT_SECONDS)
        self._is_cluster = address.is_cluster
        self._keep = keep
        self._kept: OrderedDict[tuple[str, str], Float32Array] = OrderedDict()
        self._bundles: set[str] = set()
        """Those that vectors were ever kept of: few, where ``_kept`` is long."""
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
        """Let go of what is kept here of a user."""
        for bundle_id in self._bundles:
            self._kept.pop((bundle_id, user_id), None)

    async def close(self) -> None:
        """Let go of connections."""
        await asyncio.gather(*self._travelling.values(), return_exceptions=True)
        await close_client(self._client)

    async def _travel(self, bundle_id: str, dim: int) -> None:
        """One trip after another, as long as somebody asks."""
        # Whoever asks in this turn of the loop comes along.
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
        logger.warning("%s; nobody else is looked for there for %g s", why, PAUSE_SECONDS)
        self._not_before = time.monotonic() + PAUSE_SECONDS
