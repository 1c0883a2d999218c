"""The key that signs recommendation ids: from the settings, or drawn once for all workers of a service."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from pydantic import SecretStr

from diffcdr.errors import InputError

MIN_KEY_CHARACTERS = 16
KEY_BYTES = 32
_KEY_FILE = "feedback.key"
_WARNED_FILE = "feedback.warned"


def read_keys(setting: SecretStr) -> tuple[bytes, ...]:
    """The keys in ``DIFFCDR_FEEDBACK_KEY``, newest first; none if it is empty.

    Raises:
        InputError: a key is too short to be a secret. The message does not contain it.
    """
    keys = tuple(part.strip().encode() for part in setting.get_secret_value().split(",") if part.strip())
    if any(len(key) < MIN_KEY_CHARACTERS for key in keys):
        raise InputError(
            f"DIFFCDR_FEEDBACK_KEY: a key has at least {MIN_KEY_CHARACTERS} characters; "
            "make one with: openssl rand -hex 32"
        )
    return keys


def drawn_key(folder: Path | None) -> bytes:
    """A random key; the same for every worker that shares ``folder``."""
    key = secrets.token_bytes(KEY_BYTES)
    if folder is None:
        return key
    path, partial = folder / _KEY_FILE, folder / f"{_KEY_FILE}.{os.getpid()}"
    partial.touch(mode=0o600)
    partial.write_bytes(key)
    try:
        os.link(partial, path)  # atomic, and only if no other worker was first
    except FileExistsError:
        return path.read_bytes()
    finally:
        partial.unlink()
    return key


class Once:
    """Something that only the first of the workers sharing ``folder`` does, for example a warning."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._done = False

    def first(self) -> bool:
        """Whether this is the first call in any of these workers."""
        if self._done:
            return False
        self._done = True
        if self._folder is None:
            return True
        try:
            (self._folder / _WARNED_FILE).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True
