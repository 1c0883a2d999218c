"""Connects to the Redis that a URL names: a server, the primary behind Sentinels, or a Cluster; TLS and ACL users.

    redis://[USER:PASSWORD@]HOST:PORT/DB                        rediss:// with TLS
    unix://[USER:PASSWORD@]/PATH?db=DB
    redis+sentinel://[USER:PASSWORD@]HOST:PORT,…/SERVICE/DB     rediss+sentinel:// with TLS
    redis+cluster://[USER:PASSWORD@]HOST:PORT,…                 rediss+cluster:// with TLS

Percent-encode all characters except letters and digits in user names and passwords. No message contains either.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redis import Redis, RedisCluster
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio import RedisCluster as AsyncRedisCluster
from redis.asyncio import Sentinel as AsyncSentinel
from redis.asyncio.cluster import ClusterNode as AsyncClusterNode
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import ConnectionError, MasterDownError, ReadOnlyError, RedisError
from redis.sentinel import Sentinel

from diffcdr.errors import InputError

T = TypeVar("T")
Kind = Literal["server", "sentinel", "cluster"]

DEFAULT_PORTS: dict[Kind, int] = {"server": 6379, "sentinel": 26379, "cluster": 6379}
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def _truth(text: str) -> bool:
    if text.lower() not in (*TRUE, *FALSE):
        raise ValueError(text)
    return text.lower() in TRUE


OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "client_name": str,
    "db": int,
    "health_check_interval": float,
    "max_connections": int,
    "password": str,
    "protocol": int,
    "sentinel_password": str,
    "sentinel_username": str,
    "socket_connect_timeout": float,
    "socket_keepalive": _truth,
    "socket_timeout": float,
    "ssl_ca_certs": str,
    "ssl_cert_reqs": str,
    "ssl_certfile": str,
    "ssl_check_hostname": _truth,
    "ssl_keyfile": str,
    "username": str,
}
"""Options allowed after the ``?``: options of redis-py, and how their values are parsed."""


@dataclass(frozen=True)
class RedisAddress:
    """Address and credentials of a Redis. ``options`` are keyword arguments of redis-py's clients."""

    kind: Kind
    nodes: tuple[tuple[str, int], ...]
    service: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    sentinel_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_cluster(self) -> bool:
        """Whether this is a Cluster: keys used together must share a hash tag, and there are no transactions."""
        return self.kind == "cluster"

    def open(self, *, timeout: float, **options: Any) -> Any:
        """An asynchronous client, not yet connected. ``timeout``: seconds for each answer, and to connect."""
        # Retry once if a connection was closed, but not if it hangs.
        retry = AsyncRetry(NoBackoff(), 1, supported_errors=(ConnectionError,))
        given = self._given(timeout, retry=retry, **options)
        if self.kind == "cluster":
            return AsyncRedisCluster(startup_nodes=[AsyncClusterNode(*node) for node in self.nodes], **given)
        if self.kind == "sentinel":
            return self._primary(AsyncSentinel, timeout, given)
        return AsyncRedis(**given)

    def open_blocking(self, *, timeout: float) -> Any:
        """A blocking client for commands. For a Cluster it connects at once; raises RedisError if that fails."""
        given = self._given(timeout)
        if self.kind == "cluster":
            node: Any = ClusterNode
            return RedisCluster(startup_nodes=[node(*place) for place in self.nodes], **given)
        if self.kind == "sentinel":
            return self._primary(Sentinel, timeout, given)
        return Redis(**given)

    def _primary(self, sentinels: Any, timeout: float, given: Mapping[str, Any]) -> Any:
        asked = {"socket_timeout": timeout, "socket_connect_timeout": timeout, **self.sentinel_options}
        return sentinels(self.nodes, sentinel_kwargs=asked, **given).master_for(self.service)

    def _given(self, timeout: float, **options: Any) -> dict[str, Any]:
        timeouts = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        place = {}
        if self.kind == "server" and "unix_socket_path" not in self.options:
            place = dict(zip(("host", "port"), self.nodes[0], strict=True))
        return {**timeouts, **options, **place, **self.options}


def parse_address(url: str, *, name: str) -> RedisAddress:
    """The address in ``url``, which the user knows as ``name`` (an option or a variable).

    Raises:
        InputError: the URL is invalid. The message says why, and contains no part of a password.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:  # brackets in a password look like an IPv6 address
        raise _unreadable(name) from error
    if parts.fragment or "@" in parts.path + parts.query:
        raise _unreadable(name)
    scheme, _, suffix = parts.scheme.partition("+")
    kind: Kind = "server"
    if suffix in ("sentinel", "cluster"):
        kind = "sentinel" if suffix == "sentinel" else "cluster"
    elif suffix:
        scheme = ""
    if scheme not in ("redis", "rediss") and (scheme != "unix" or suffix):
        raise InputError(
            f"{name} must begin with redis://, rediss:// (TLS), unix://, redis+sentinel://, rediss+sentinel://, "
            "redis+cluster:// or rediss+cluster://"
        )
    options = _query(parts.query, name)
    _credentials(parts, options)
    if scheme == "unix":
        if not parts.path.strip("/"):
            raise InputError(f"{name} names no socket; write unix:///PATH/TO/SOCKET")
        return RedisAddress("server", (), options={**options, "unix_socket_path": unquote(parts.path)})
    path = [unquote(part) for part in parts.path.strip("/").split("/") if part]
    service = path.pop(0) if kind == "sentinel" and path else ""
    if kind == "sentinel" and not service:
        raise InputError(f"{name} names no service; write redis+sentinel://HOST:PORT,HOST:PORT/SERVICE")
    _database(path, options, kind, name)
    if scheme == "rediss":
        options["ssl"] = True
    nodes = tuple(_node(text, kind, name) for text in parts.netloc.rpartition("@")[2].split(","))
    if kind == "server" and len(nodes) > 1:
        raise InputError(f"{name} names several servers; write redis+sentinel:// or redis+cluster://")
    of_sentinels = {key.removeprefix("sentinel_"): options.pop(key) for key in list(options) if "sentinel_" in key}
    of_sentinels |= {key: value for key, value in options.items() if key.startswith("ssl")}
    return RedisAddress(kind, nodes, service, options, of_sentinels)


async def ask_primary(client: Any, call: Callable[[], Awaitable[T]]) -> T:
    """The result of ``call``, retried once on new connections if the server is no longer the primary.

    After a failover, open connections may lead to the demoted server for ever; only new ones find the new primary.
    ``call`` must be safe to repeat. Raises what ``call`` raises.
    """
    try:
        return await call()
    except RedisError as error:
        pool = getattr(client, "connection_pool", None)  # a Cluster's client follows its primaries by itself
        if pool is None or not is_from_replica(error):
            raise
        await pool.disconnect(inuse_connections=False)
    return await call()


def is_from_replica(error: BaseException) -> bool:
    """Whether a server refused because it is not the primary (any more)."""
    if isinstance(error, ReadOnlyError | MasterDownError):
        return True
    # Redis 6 wraps the error of a refused script in another one; so does redis-py behind Sentinels.
    return "READONLY" in str(error) or "previous master is now a slave" in str(error)


async def close_client(client: Any) -> None:
    """Close the connections of ``client``, and those to Sentinels."""
    await client.aclose()
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    for sentinel in manager.sentinels if manager is not None else ():
        await sentinel.aclose()


def _unreadable(name: str) -> InputError:
    return InputError(
        f"{name} cannot be read as a URL; percent-encode special characters in the user name and the password "
        "(# is %23, / is %2F, ? is %3F, @ is %40, [ is %5B, ] is %5D)"
    )


def _query(query: str, name: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key not in OPTIONS:
            raise InputError(f"{name} has an unknown option, {key!r}; options are: {', '.join(OPTIONS)}")
        try:
            options[key] = OPTIONS[key](text)
        except ValueError as error:
            raise InputError(f"{name}: the option {key} has an invalid value") from error
    if options.get("ssl_cert_reqs", "required") not in ("none", "optional", "required"):
        raise InputError(f"{name}: the option ssl_cert_reqs is none, optional or required")
    return options


def _credentials(parts: SplitResult, options: dict[str, Any]) -> None:
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    for key, text in (("username", user), ("password", password)):
        if text:
            options[key] = unquote(text)


def _database(path: list[str], options: dict[str, Any], kind: Kind, name: str) -> None:
    if not path:
        return
    if len(path) > 1 or not path[0].isdecimal():
        raise InputError(f"{name}: the database after the last / is not a number")
    if kind == "cluster" and int(path[0]):
        raise InputError(f"{name}: a Redis Cluster has no database but 0")
    if kind != "cluster":
        options["db"] = int(path[0])


def _node(text: str, kind: Kind, name: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError as error:
        raise InputError(
            f"{name} has a port that is not a number from 1 to 65535; special characters in a password must be "
            "percent-encoded"
        ) from error
    host = parts.hostname or ("localhost" if kind == "server" and not text else "")
    if not host:
        raise InputError(f"{name} names no host")
    return host, DEFAULT_PORTS[kind] if port is None else port
