"""What attacks are made on: one real process with default settings, for those that leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bundles import write_bundle
from tests.servers import Server, running_server


@pytest.fixture(scope="session")
def attacked_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of 3,000 source users and 200 target items."""
    path = tmp_path_factory.mktemp("attacked") / "planted"
    write_bundle(path, users=3000, items=200, console=True)
    return path


@pytest.fixture(scope="module")
def attacked(attacked_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running service, of the attacks of one module."""
    folder = tmp_path_factory.mktemp("process")
    with running_server(
        attacked_bundle, log=folder / "log", DIFFCDR_STATE_URL=f"sqlite:{folder / 'state.sqlite'}"
    ) as server:
        yield server
