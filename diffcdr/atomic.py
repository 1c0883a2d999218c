"""Directories that are there whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def in_place_of(folder: Path) -> Iterator[Path]:
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
