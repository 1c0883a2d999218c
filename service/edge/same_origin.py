"""Keeps web pages of other origins from using a service without keys through a visitor's browser.

Browsers send some requests across origins without asking first (a POST without a body, for one). They say so, and
a page cannot make them lie; programs that are no browsers say nothing and pass. With keys none of this is needed: a
page does not know them.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from service.edge.auth import is_loopback

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""They change nothing here, and a page of another origin cannot read their answers."""


class CrossOrigin(Exception):
    """The request comes from a page of another origin."""

    def __init__(self) -> None:
        super().__init__(
            "the request came from a web page of another origin; send it from a program, or set up API keys"
        )


def check_origin(method: str, headers: Iterable[tuple[bytes, bytes]], *, loopback: bool) -> None:
    """Accept requests that come from no web page, or from a page of the service.

    Args:
        method: of the request; ``SAFE_METHODS`` always pass.
        headers: of the request, names in lower case.
        loopback: only this machine can reach the service. Its own pages then have a loopback address; any other name
            was made to point here (DNS rebinding).

    Raises:
        CrossOrigin: the request comes from another page.
    """
    if method in SAFE_METHODS:
        return
    found = {name: value.decode("latin-1") for name, value in headers if name in _LOOKED_AT}
    site, origin = found.get(b"sec-fetch-site"), found.get(b"origin")
    if site is not None:
        # Not sent to plain HTTP addresses other than loopback's, so a rebound name cannot hide behind it.
        own = site in ("same-origin", "none")
    else:
        own = origin is None or _is_own(origin, found.get(b"host", ""), loopback=loopback)
    if not own:
        raise CrossOrigin


_LOOKED_AT = frozenset({b"host", b"origin", b"sec-fetch-site"})


def _is_own(origin: str, host: str, *, loopback: bool) -> bool:
    try:
        parts = urlsplit(origin)
        name = parts.hostname or ""
    except ValueError:
        return False
    same = parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()
    return same and (not loopback or is_loopback(name))
