"""The path below which a proxy shows the service: taken off addresses, put before those that are told."""

from __future__ import annotations

import re

from starlette.requests import HTTPConnection

FORWARDED = "x-forwarded-prefix"
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")


class PathPrefix:
    """``root``: such as ``/recs``, or empty. A proxy may take it off addresses or not: both find the same."""

    def __init__(self, root: str) -> None:
        self._root = root.encode()

    def without(self, url: bytes) -> bytes:
        """``url``, as it was sent, without the prefix, where it begins with it."""
        root = self._root
        if not root or not url.startswith(root):
            return url
        rest = url[len(root) :]
        if rest[:1] == b"/":
            return rest
        return b"/" + rest if rest[:1] in (b"", b"?") else url


def told_prefix(connection: HTTPConnection, root: str) -> str:
    """The prefix as whoever asks sees it: what a proxy says in ``X-Forwarded-Prefix``, else ``root``; else empty."""
    said = connection.headers.get(FORWARDED, "").rstrip("/")
    return said if _PREFIX.fullmatch(said) else root
