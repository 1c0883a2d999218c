"""Atomic writes of files and directories, whole or not at all, and the hash of a file."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ABANDONED_AFTER_S = 60.0
"""Staging directories younger than this are left alone: their writer may not have locked them yet."""


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of the file at ``path``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """A new, empty file next to ``path``. It replaces ``path`` when the block succeeds, and is removed when it fails.

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
    """A new directory next to ``folder``. It replaces ``folder`` when the block succeeds, and is removed when it fails.

    Raises:
        OSError: it cannot be written; what was there before is there still.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder, suffix=".staging")
    with (
        tempfile.TemporaryDirectory(prefix=f".{folder.name}.", suffix=".staging", dir=folder.parent) as holder,
        _locked(Path(holder)),
    ):
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


def remove_abandoned(destination: Path, *, suffix: str) -> None:
    """Remove what killed writers left next to ``destination``: unlocked directories, at least a minute old."""
    for path in destination.parent.iterdir():
        if not (path.name.startswith(f".{destination.name}.") and path.name.endswith(suffix)):
            continue
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:  # somebody else's, or gone by now
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - os.fstat(descriptor).st_mtime > ABANDONED_AFTER_S:
                shutil.rmtree(path, ignore_errors=True)
        except OSError:  # its writer is alive, or the file system knows no locks
            pass
        finally:
            os.close(descriptor)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Tell :func:`remove_abandoned` that the writer of ``folder`` is alive."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks sweeps nothing either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def reserving(folder: Path, size: int) -> Iterator[Callable[[], None]]:
    """Reserve ``size`` bytes on the disk of ``folder`` until the yielded function is called or the block ends.

    The file has no name, so that nothing is left however the process ends.

    Raises:
        OSError: there is not so much room.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, max(1, size))
        yield file.close


def sync(path: Path) -> None:
    """Wait until the file or directory at ``path`` is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
