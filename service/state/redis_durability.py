"""Reads from Redis whether its data would survive a restart."""

from __future__ import annotations

from collections.abc import Mapping

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

SECTIONS = ("server", "persistence", "memory", "replication")
"""Sections of ``INFO`` to read."""


async def asked(connection: AbstractConnection, *command: str) -> dict[str, str]:
    """Facts by name; none if this user may not ask for them."""
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
    """Why a Redis with these ``facts``, from ``INFO`` and ``CONFIG GET save``, may lose acknowledged changes."""
    found: list[str] = []
    if "aof_enabled" not in facts:
        found.append(
            "this user may not run INFO, so whether Redis stores its data cannot be checked; allow it, or check it "
            "yourself"
        )
    elif facts["aof_enabled"] == "0" and not facts.get("save", ""):
        found.append("Redis stores nothing on disk: a restart loses everything; set appendonly yes")
    elif facts["aof_enabled"] == "0":
        found.append("Redis writes snapshots only: a restart loses the last minutes; set appendonly yes")
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        found.append(f"Redis evicts data when it is full ({policy}); set maxmemory-policy noeviction")
    if facts.get("role") == "slave":
        found.append("this Redis is a replica, which lags behind and takes no writes; name the primary")
    return tuple(found)
