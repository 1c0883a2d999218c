"""A request body of any size that is received and read at the same time, and never held in memory whole.

A client that sends its whole body before it reads the first line of the answer would wait for us while we wait
for it to read; so receiving never stops, and what is not read yet goes to a temporary file.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import IO

from starlette.requests import ClientDisconnect
from starlette.types import Receive

MEMORY_BYTES = 1 << 20
READ_BYTES = 1 << 14
"""So many at a time are cut into entries before others have their turn on the event loop."""


class BodyTooLarge(Exception):
    """More bytes arrived than are allowed."""


class SpoolFull(Exception):
    """The spool's disk has no room for the body."""


class Spool:
    """One body. Run :meth:`fill` in a task of its own and read :meth:`parts` meanwhile."""

    def __init__(self, file: IO[bytes], *, limit: int) -> None:
        """``file``: an empty scratch file; ``limit``: most bytes to take."""
        self._file = file
        self._limit = limit
        self._received = self._read = 0
        self._complete = False
        self._news = asyncio.Event()

    async def fill(self, receive: Receive) -> None:
        """Receive the body.

        Raises:
            BodyTooLarge: it has more than ``limit`` bytes.
            SpoolFull: the temporary directory has no room for it.
            ClientDisconnect: the client left before it was whole.
        """
        while not self._complete:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            part = message.get("body", b"")
            if self._received + len(part) > self._limit:
                raise BodyTooLarge
            try:
                self._file.seek(self._received)
                self._file.write(part)
                self._file.flush()
            except OSError as error:
                if isinstance(error, FileNotFoundError):
                    tempfile.tempdir = None  # cleaned away under us: the next body finds another place
                raise SpoolFull(error.strerror) from error
            self._received += len(part)
            self._complete = not message.get("more_body", False)
            self._news.set()

    async def parts(self) -> AsyncIterator[bytes]:
        """The body from its beginning, in pieces of at most ``READ_BYTES``."""
        while self._read < self._received or not self._complete:
            if self._read == self._received:
                self._news.clear()
                await self._news.wait()
                continue
            await asyncio.sleep(0)
            self._file.seek(self._read)
            part = self._file.read(min(READ_BYTES, self._received - self._read))
            self._read += len(part)
            yield part


@contextmanager
def open_spool(*, limit: int) -> Iterator[Spool]:
    """A spool for up to ``limit`` bytes, whose file is gone afterwards."""
    with tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES) as file:
        yield Spool(file, limit=limit)
