"""Access of a request: host name, API key, origin and rate limit, in this order."""

from __future__ import annotations

from starlette.types import Scope

from service.edge.auth import KeyRing
from service.edge.auth import Scope as Permission
from service.edge.host_names import HostNames
from service.edge.rate_limit import Quota
from service.edge.same_origin import check_origin

PROBES = frozenset({"/livez", "/readyz"})


class Access:
    """Checks a caller before any work is done for the request; ``scope`` is ASGI's, a permission that of a key."""

    def __init__(self, *, keys: KeyRing, loopback: bool, quota: Quota | None, hosts: HostNames) -> None:
        """``loopback``: only programs of this machine can reach the service. ``hosts``: the names it goes by."""
        self._hosts = hosts
        self._keys = keys
        self._loopback = loopback
        self._quota = quota

    def check_host(self, scope: Scope) -> None:
        """Raise HostUnknown where a page may have made a name of its own point here (DNS rebinding).

        Whoever sends a key is no such page, and probes ask under any name.
        """
        if self._hosts.all or scope["path"] in PROBES or _presented_key(scope) is not None:
            return
        self._hosts.check(next((value for name, value in scope["headers"] if name == b"host"), b""))

    def check(self, scope: Scope, permission: Permission) -> None:
        """Raise if the caller lacks ``permission``, is a page of another origin, or exceeds the rate limit."""
        caller = self._keys.check(_presented_key(scope), permission)
        scope["state"]["caller"] = caller
        if not caller:
            check_origin(scope["method"], scope["headers"], loopback=self._loopback)
        if self._quota is not None:
            self._quota.take(caller or _client(scope))


def _presented_key(scope: Scope) -> str | None:
    """The key in ``Authorization: Bearer`` or ``X-API-Key``."""
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            return str(value.decode("latin-1"))
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return str(value[7:].strip().decode("latin-1"))
    return None


def _client(scope: Scope) -> str:
    """The address that the connection comes from; behind a proxy that is the proxy's."""
    client = scope.get("client")
    return str(client[0]) if client else ""
