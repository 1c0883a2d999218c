"""The folder that several workers share: their lineup and their metrics."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

MEMORY = Path("/dev/shm")  # noqa: S108 - Linux keeps it in memory, and nothing cleans it
PREFIX = "diffcdr-"


@contextmanager
def shared_folder(memory: Path = MEMORY) -> Iterator[Path]:
    """A folder for the duration of the block, in ``memory`` if that is writable, else among temporary files.

    Temporary files are cleaned by age on many machines, under services that run for weeks. So the folder is locked
    meanwhile, which systemd's cleaner respects, and rather not there at all.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(TemporaryDirectory(prefix=PREFIX, dir=memory))
        except OSError:
            folder = stack.enter_context(TemporaryDirectory(prefix=PREFIX))
        lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield Path(folder)
