"""The path prefix under which a proxy exposes the service: stripped from requests, added to the URLs it returns."""

from __future__ import annotations

import re

from starlette.requests import HTTPConnection

FORWARDED = "x-forwarded-prefix"
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")


class PathPrefix:
    """``root``: such as ``/recs``, or empty. It works whether the proxy strips the prefix or not."""

    def __init__(self, root: str) -> None:
        self._root = root.encode()

    def without(self, url: bytes) -> bytes:
        """``url``, as it was sent, without the prefix if it has it."""
        root = self._root
        if not root or not url.startswith(root):
            return url
        rest = url[len(root) :]
        if rest[:1] == b"/":
            return rest
        return b"/" + rest if rest[:1] in (b"", b"?") else url


def told_prefix(connection: HTTPConnection, root: str) -> str:
    """The prefix that the client sees: ``X-Forwarded-Prefix`` if the proxy sends it, else ``root``."""
    said = connection.headers.get(FORWARDED, "").rstrip("/")
    return said if _PREFIX.fullmatch(said) else root
