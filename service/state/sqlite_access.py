"""Access to the state's file: on a thread, or on the event loop for reads of microseconds; reopens it after faults."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from service.state.sqlite_file import NeverWas, Opened, StateFile, explained, is_busy
from service.state.store import StateBroken, StateUnavailable

T = TypeVar("T")

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""How long to wait before opening the file again after a failure."""


class Access:
    """Access of one process to the file. Use it on one event loop."""

    def __init__(self, path: Path) -> None:
        """Open the file at ``path``, or create it if there provably never was one. Raises NeverWas.

        If it exists and cannot be used, this is logged, and every call raises until it can be used.
        """
        # Writes run on this thread: a sync can take long, and the event loop must not wait for it.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state")
        self.file = StateFile(path)
        self.epoch = ""
        """Changes each time the file is opened."""
        self._opened: Opened | None = None
        self._opened_at = 0.0
        self._failure: StateUnavailable | None = None
        self._again_at = 0.0
        try:
            self._thread.submit(self._connection).result()
        except StateUnavailable as error:
            logger.error("%s; no list is personal until it can be used; it is tried again every second", error)
        except NeverWas:
            self._thread.shutdown()
            raise

    async def look(self, read: Callable[[sqlite3.Connection], T], *, same: bool = True) -> T:
        """Run ``read`` on the event loop (microseconds, as readers do not wait for writers), or else on the thread.

        With ``same``, first check that the file is still the one that was opened.

        Raises:
            StateUnavailable, StateBroken: the file cannot be used.
        """
        opened = self._opened
        if opened is not None:
            if same and not self.file.same(opened):
                raise self.lose(self._replaced())
            try:
                return read(opened.reader)
            except sqlite3.Error as error:
                if not is_busy(error):
                    raise self._lost_by(error) from error
        return await self.run(read)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` on the thread. Raises like :meth:`look`."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(self._connection()))
        except sqlite3.Error as error:
            raise self._lost_by(error) from error
        except StateBroken as error:
            raise self.lose(error) from error
        except NeverWas as error:
            raise StateUnavailable(str(error)) from error

    def lose(self, error: StateUnavailable) -> StateUnavailable:
        """Close the file, to be opened again; returns ``error``. Only on the event loop, which uses the reader."""
        opened, self._opened = self._opened, None
        if opened is not None:
            # If the file fails right after opening, do not open it again for every request.
            self._failure, self._again_at = error, self._opened_at + RETRY_SECONDS
            self._thread.submit(opened.close)
        return error

    async def close(self) -> None:
        """Close the file."""
        self.lose(StateUnavailable("the state is closed"))
        await asyncio.get_running_loop().run_in_executor(self._thread, lambda: None)
        self._thread.shutdown()

    def _lost_by(self, error: sqlite3.Error) -> StateUnavailable:
        found = explained(error, self.file.path)
        return self.lose(found) if isinstance(found, StateBroken) else found

    def _replaced(self) -> StateBroken:
        return StateBroken(f"the state file {self.file.path} is gone or was replaced")

    def _connection(self) -> sqlite3.Connection:
        """On the thread: the connection, opened again if necessary."""
        opened = self._opened
        if opened is None:
            if self._failure is not None and time.monotonic() < self._again_at:
                raise self._failure
            try:
                opened = self.file.open()
            except StateUnavailable as error:
                self._failure, self._again_at = error, time.monotonic() + RETRY_SECONDS
                raise
            # This file may lack changes seen in the previous one.
            self.epoch, self._opened_at = uuid.uuid4().hex, time.monotonic()
            self._failure, self._opened = None, opened
        elif not self.file.same(opened):
            raise self._replaced()
        return opened.connection
