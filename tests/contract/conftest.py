"""Bundles and servers for the contract of the REST surface; `catalogue` is shared, so tests must leave it as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.bundles import write_bundle
from tests.serving import serving


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of 3,000 source users and 200 target items."""
    path = tmp_path_factory.mktemp("bundles") / "planted"
    write_bundle(path, users=3000, items=200, console=True)
    return path


@pytest.fixture(scope="session")
def sparse_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose scores have a sparse term, of 200 source users and 200 target items."""
    path = tmp_path_factory.mktemp("bundles") / "sparse"
    write_bundle(path, users=200, items=200, objective="ranking", neighbours=True)
    return path


@pytest.fixture(scope="session")
def client(bundle_path: Path) -> Iterator[httpx.Client]:
    """A client of a server with default settings."""
    with serving(bundle_path) as client:
        yield client
