"""API keys: by scope, kept as hashes, compared in constant time, read again when their file changes.

A key is ``scopes:sha256`` in the file or the environment, one a line, ``#`` begins a comment:

    read,write:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae   web shop

A key has to be random (``openssl rand -hex 32``), so that its hash needs no salt. The hash is
``printf %s KEY | sha256sum``.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from diffcdr.errors import InputError
from service.settings import Settings

logger = logging.getLogger(__name__)

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

RELOAD_SECONDS = 1.0
_LINE = re.compile(r"(?P<scopes>[a-z,]+):(?P<digest>[0-9a-f]{64})(?:\s+(?P<name>.*))?")


class Unauthenticated(Exception):
    """No key was given, or an unknown one."""


class Forbidden(Exception):
    """The key is known but lacks the scope."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(f"this needs a key with the scope {scope}")
        self.scope = scope


@dataclass(frozen=True)
class Key:
    """One key: its scopes and the SHA-256 of its text."""

    scopes: frozenset[Scope]
    digest: bytes
    name: str = ""


def parse_keys(text: str, *, origin: str) -> list[Key]:
    """The keys in ``text``. Raises InputError that names ``origin`` and the line, never its content."""
    keys: list[Key] = []
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        match = _LINE.fullmatch(content)
        scopes = match["scopes"].split(",") if match else []
        if match is None or not set(scopes) <= set(SCOPES):
            raise InputError(
                f"{origin}, line {number}, is not a key; write SCOPES:SHA256 with scopes of {', '.join(SCOPES)}"
            )
        chosen = frozenset(scope for scope in SCOPES if scope in scopes)
        keys.append(Key(chosen, bytes.fromhex(match["digest"]), match["name"] or ""))
    return keys


class KeyRing:
    """Checks keys. Requests without a key have the scopes ``anonymous``."""

    def __init__(
        self, *, inline: str = "", file: Path | None = None, anonymous: frozenset[Scope] = frozenset()
    ) -> None:
        """Read the keys.

        Args:
            inline: keys, in the format of the file.
            file: read again within ``RELOAD_SECONDS`` of a change; a change that cannot be read is not taken.
            anonymous: what is open without a key.

        Raises:
            InputError: a key cannot be read.
        """
        self._inline = parse_keys(inline, origin="DIFFCDR_API_KEYS")
        self._file = file
        self._anonymous = anonymous
        self._text = ""
        self._next_look = 0.0
        self._keys = self._inline
        if file is not None:
            self._read(file)

    def check(self, presented: str | None, scope: Scope) -> str:
        """Check that ``key`` has ``scope``; returns the name that the caller is counted by (the key's hash, or empty).

        Raises:
            Unauthenticated: there is no key, or nobody knows it.
            Forbidden: the key does not have ``scope``.
        """
        self._look_again()
        if presented is None:
            if scope in self._anonymous:
                return ""
            raise Unauthenticated
        digest = hashlib.sha256(presented.encode("utf-8", "surrogatepass")).digest()
        found: Key | None = None
        for key in self._keys:
            # No early end: how long it takes says nothing about which key is nearly right.
            if hmac.compare_digest(key.digest, digest):
                found = key
        if found is None:
            raise Unauthenticated
        if scope not in found.scopes:
            raise Forbidden(scope)
        return found.digest.hex()

    def _look_again(self) -> None:
        now = time.monotonic()
        if self._file is None or now < self._next_look:
            return
        self._next_look = now + RELOAD_SECONDS
        try:
            self._read(self._file)
        except InputError as error:
            logger.error("keys were not read again: %s", error)

    def _read(self, file: Path) -> None:
        try:
            # All of it, some kilobytes: sizes and times do not tell every change.
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"API key file {file} cannot be read: {error}; see DIFFCDR_API_KEYS_FILE") from error
        if text == self._text:
            return
        self._text = text
        self._keys = [*self._inline, *parse_keys(text, origin=str(file))]


def key_ring(settings: Settings) -> KeyRing:
    """The keys that ``settings`` name, and the scopes without a key: all on loopback, none elsewhere.

    Raises:
        InputError: a key cannot be read, or there is none and other machines can reach the service.
    """
    inline = settings.api_keys.get_secret_value().replace(";", "\n")
    has_keys = bool(inline.strip()) or settings.api_keys_file is not None
    anonymous: frozenset[Scope] = frozenset()
    if not has_keys and only_here(settings):
        anonymous = frozenset(SCOPES)
    elif not has_keys and settings.allow_anonymous:
        anonymous = frozenset(("read", "write"))
        logger.warning("serving on %s without API keys: anyone who can reach it may use it", settings.host)
    elif not has_keys:
        raise InputError(
            f"other machines can reach {settings.host} and there are no API keys; set DIFFCDR_API_KEYS_FILE, or "
            "DIFFCDR_ALLOW_ANONYMOUS=true if something in front of the service restricts who can reach it"
        )
    return KeyRing(inline=inline, file=settings.api_keys_file, anonymous=anonymous)


def only_here(settings: Settings) -> bool:
    """Whether only programs of this machine can reach the service: by a loopback address or a Unix socket."""
    return settings.uds is not None or is_loopback(settings.host)


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine can reach ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def required_scope(method: str, path: str) -> Scope | None:
    """The scope that a request needs; None for probes, metrics and documents. Everything under /v1 needs one."""
    if not path.startswith("/v1/"):
        return None
    if path.startswith("/v1/admin/"):
        return "admin"
    reading = method in ("GET", "HEAD") or path.startswith(("/v1/recommendations", "/v1/embeddings"))
    return "read" if reading else "write"
