"""Writes a bundle's source vectors to Redis, in the layout of :mod:`service.state.redis_vectors`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from redis import RedisCluster
from redis.exceptions import OutOfMemoryError, RedisError

from diffcdr.bundle.reader import Bundle
from diffcdr.errors import InputError
from diffcdr.progress import Reporter
from service.state.redis_connection import parse_address
from service.state.redis_vectors import COUNT_FIELD, PREFIX, vectors_key

ROWS = 2000
"""Users in one command."""
COMMANDS = 5
"""Commands in one round trip."""
TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Pushed:
    """The result of a push."""

    users: int
    already_there: bool
    pruned: int


def connect(url: str) -> Any:
    """A connection to the Redis at ``url``. Raises InputError if the URL is invalid or a Cluster does not answer."""
    address = parse_address(url, name="--redis")
    try:
        return address.open_blocking(timeout=TIMEOUT_SECONDS)
    except RedisError as error:
        raise InputError(f"Redis does not answer: {error}; push again once it does") from error


def push_vectors(
    bundle: Bundle, client: Any, *, reporter: Reporter, ttl: int | None = None, prune: bool = False
) -> Pushed:
    """Write every source vector of ``bundle`` to the Redis of ``client``. Readers see all of them at once.

    An interrupted push continues where it stopped: every round trip records its progress.

    Args:
        bundle: the bundle with the vectors.
        client: a connection to Redis that returns bytes.
        reporter: shows progress.
        ttl: seconds after which Redis removes them; None keeps them.
        prune: remove the vectors of all other bundles afterwards.

    Raises:
        InputError: Redis does not answer, or is full; no vector of this push is served then.
    """
    final = vectors_key(bundle.id, is_cluster=isinstance(client, RedisCluster))
    users = len(bundle.source_users.ids)
    try:
        already_there = bool(client.exists(final))
        if not already_there:
            _fill(bundle, client, f"{final}:partial", reporter)
            client.rename(f"{final}:partial", final)
            client.delete(f"{final}:progress")
        if ttl is None:
            client.persist(final)
        else:
            client.expire(final, ttl)
        pruned = _prune(client, keep=final) if prune else 0
    except OutOfMemoryError as error:
        client.unlink(f"{final}:partial", f"{final}:progress")
        raise InputError(
            f"Redis has no room for {users:,} vectors of bundle {bundle.id}: {error}; raise its maxmemory, or push "
            "with --prune once another bundle is not served any more; nothing was left there"
        ) from error
    except RedisError as error:
        raise InputError(f"Redis does not answer: {error}; push again to go on where this stopped") from error
    return Pushed(users, already_there, pruned)


def _fill(bundle: Bundle, client: Any, key: str, reporter: Reporter) -> None:
    ids = bundle.source_users.ids.array
    vectors = bundle.source_users.vectors
    progress = key.removesuffix(":partial") + ":progress"
    start = int(client.get(progress) or 0) if client.exists(key) else 0
    width = 4 * vectors.shape[1]
    with reporter.task("Pushing", total=len(ids), unit="users") as task:
        task.advance(start)
        while start < len(ids):
            end = min(start + ROWS * COMMANDS, len(ids))
            # A Cluster has no transactions; sending the same values again after an interruption is harmless.
            with client.pipeline(transaction=not isinstance(client, RedisCluster)) as pipe:
                for first in range(start, end, ROWS):
                    last = min(first + ROWS, end)
                    block = np.ascontiguousarray(vectors[first:last], dtype="<f4").tobytes()
                    values = (block[at : at + width] for at in range(0, len(block), width))
                    pairs = chain.from_iterable(zip(ids[first:last].tolist(), values, strict=True))
                    pipe.execute_command("HSET", key, *pairs)
                pipe.set(progress, end)
                pipe.execute()
            task.advance(end - start)
            start = end
    client.hset(key, COUNT_FIELD, str(len(ids)))
    if client.hlen(key) != len(ids) + 1:
        client.unlink(key, progress)
        raise InputError("what is in Redis is not what was pushed; another push of this bundle ran: push it again")


def _prune(client: Any, *, keep: str) -> int:
    """Remove the vectors of all other bundles; the number of keys removed."""
    doomed = [key for key in client.scan_iter(match=f"{PREFIX}*", count=1000) if key != keep.encode()]
    # One by one, since a Cluster has them on several nodes.
    return sum(int(client.unlink(name)) for name in doomed)
