"""Where workers keep what they share: away from what cleans temporary files."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from service.process.shared_folder import shared_folder


def test_it_is_in_memory_locked_and_gone_afterwards(tmp_path: Path) -> None:
    with shared_folder(tmp_path) as folder:
        assert folder.parent == tmp_path
        (folder / "metrics.db").write_bytes(b"1")
        cleaner = os.open(folder, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(cleaner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(cleaner)
    assert list(tmp_path.iterdir()) == []


def test_without_such_a_place_it_is_among_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with shared_folder(tmp_path / "nowhere") as folder:
        assert folder.parent == tmp_path
