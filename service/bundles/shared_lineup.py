"""The lineup of all workers of one service, in a file that any of them may replace.

A worker changes it under a lock, after it has taken over what the others changed; the rest see that the file is
another one, and follow. One that takes another's place starts from it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from service.bundles.registry import Lineup, LoadFailure
from service.bundles.traffic_split import Traffic

FOLLOW_SECONDS = 0.25
"""How often the file is looked at."""


class Held(BaseModel):
    """A loaded bundle, and where it was loaded from."""

    model_config = ConfigDict(frozen=True)

    id: str
    path: Path
    loaded_at: datetime


class LineupRecord(BaseModel):
    """A lineup by ids, and the bundles that were refused."""

    model_config = ConfigDict(frozen=True)

    models: tuple[Held, ...]
    stable: str
    previous: str | None
    traffic: Traffic
    failures: tuple[LoadFailure, ...]

    @classmethod
    def of(cls, lineup: Lineup, failures: tuple[LoadFailure, ...]) -> LineupRecord:
        """The record of ``lineup``."""
        return cls(
            models=tuple(
                Held(id=model.id, path=model.bundle.path.absolute(), loaded_at=model.loaded_at)
                for model in lineup.models.values()
            ),
            stable=lineup.stable.id,
            previous=lineup.previous.id if lineup.previous else None,
            traffic=lineup.traffic,
            failures=failures,
        )

    @property
    def stable_path(self) -> Path:
        """Where the active bundle was loaded from."""
        return next(held.path for held in self.models if held.id == self.stable)


class LineupFile:
    """The file in ``folder``, which only the workers of one service share."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lineup.json"
        self._lock = folder / "lineup.lock"
        self._seen: tuple[int, int] | None = None

    def changed(self) -> bool:
        """Whether the file has changed since it was last read or written here."""
        return self._stamp() != self._seen

    def read(self) -> LineupRecord | None:
        """The record; None before the first write."""
        self._seen = self._stamp()
        return LineupRecord.model_validate_json(self._path.read_bytes()) if self._seen else None

    def write(self, record: LineupRecord) -> None:
        """Replace the record; call it only while :meth:`locked`."""
        partial = self._path.with_suffix(".partial")
        partial.write_text(record.model_dump_json(), encoding="utf-8")
        partial.replace(self._path)
        self._seen = self._stamp()

    def forget(self) -> None:
        """Let the next worker begin from the settings."""
        self._path.unlink(missing_ok=True)

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """While this lasts no other worker is here; the lock of one that dies is free at once."""
        file = os.open(self._lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)

    def _stamp(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns
