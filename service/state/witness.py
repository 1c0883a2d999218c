"""The witness of a SQLite state: the file ``.NAME.witness`` next to it, with the store's id and last sequence numbers.

Delete the witness to start anew, or to continue with an older copy. Processes also use it as a lock.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.state.store import StateBroken, StateUnavailable

WAIT_SECONDS = 2.0
"""How long one process waits for another."""
STEP_SECONDS = 0.01
_LINE = re.compile(r"\s*(?P<store>\S+) (?P<people>[0-9]+)(?: (?P<items>[0-9]+))?\s*", re.ASCII)


@dataclass(frozen=True)
class Known:
    """A store's id and its last sequence numbers. Without an id: no store."""

    store: str = ""
    people: int = 0
    """Opt-outs, opt-ins and erasures so far."""
    items: int = 0
    """Changes of items so far."""


class Witness:
    """The file at ``path``: a store's id and two sequence numbers, or empty if there never was a store."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; creates the file if there is none.

        Raises:
            OSError: it cannot be opened for writing.
            StateUnavailable: another process holds it.
        """
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + WAIT_SECONDS
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StateUnavailable(f"another process holds {self.path}") from None
                    time.sleep(STEP_SECONDS)
            yield
        finally:
            os.close(file)

    def known(self) -> Known:
        """What it says; nothing known if the file is empty or missing. Raises StateBroken if it cannot be read."""
        try:
            text = self.path.read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            text = ""
        except OSError as error:
            raise StateBroken(f"{self.path} cannot be read: {error}") from error
        if not text:
            return Known()
        found = _LINE.fullmatch(text)
        if found is None:
            raise StateBroken(f"{self.path} is damaged; delete it to go on with the state as it is")
        # Earlier versions did not count changes of items.
        return Known(found["store"], int(found["people"]), int(found["items"] or 0))

    def remember(self, known: Known) -> None:
        """Write it, synced to the disk; only while :meth:`held`. Raises OSError."""
        # The length is fixed, so overwriting in place needs no space on a full disk.
        file = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(file, f"{known.store} {known.people:020d} {known.items:020d}\n".encode("ascii"), 0)
            os.fsync(file)
        finally:
            os.close(file)
