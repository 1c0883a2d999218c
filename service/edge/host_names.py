"""The names under which the service may be asked."""

from __future__ import annotations

from service.edge.auth import is_loopback, only_here
from service.settings import Settings


class HostUnknown(Exception):
    """The request names another host."""

    def __init__(self) -> None:
        super().__init__("the Host header names an unknown host; add it to DIFFCDR_ALLOWED_HOSTS")


class HostNames:
    """Checks ``Host``: a page whose own name was made to point at this machine (DNS rebinding) sends that name."""

    def __init__(self, settings: Settings) -> None:
        """By default loopback's names where only this machine can reach the service, and all names elsewhere."""
        named = [name.strip().lower() for name in settings.allowed_hosts.split(",") if name.strip()]
        self.all = "*" in named or (not named and not only_here(settings))
        self._names = frozenset(named)

    def check(self, host: bytes) -> None:
        """Raise HostUnknown unless ``host``, with or without a port, is a name of the service."""
        name = host.decode("latin-1").lower()
        name = name[1 : name.index("]")] if name.startswith("[") and "]" in name else name.rpartition(":")[0] or name
        if not (name in self._names or is_loopback(name) or name.endswith(".localhost")):
            raise HostUnknown
