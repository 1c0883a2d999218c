"""Files and directories that are there whole or not at all, and the hash that tells one file from another."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of the file at ``path``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """A new, empty file beside ``path``, on disk and in its place when the block ends well, and gone when it does not.

    Raises:
        OSError: it cannot be written; what was there before is there still.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    os.close(descriptor)
    staging = Path(name)
    try:
        staging.chmod(0o644)
        yield staging
        sync(staging)
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)


@contextmanager
def replacing_directory(folder: Path) -> Iterator[Path]:
    """A new directory beside ``folder`` that takes its place when the block ends well, and goes when it does not.

    Raises:
        OSError: it cannot be written; what was there before is there still.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", suffix=".staging", dir=folder.parent) as holder:
        staging, old = Path(holder) / "new", Path(holder) / "old"
        staging.mkdir()
        Path(holder).chmod(0o755)
        yield staging
        try:
            if folder.exists():
                folder.rename(old)
            staging.rename(folder)
        except OSError:
            if old.exists() and not folder.exists():
                old.rename(folder)
            raise


def sync(path: Path) -> None:
    """Wait until the file or directory at ``path`` is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
