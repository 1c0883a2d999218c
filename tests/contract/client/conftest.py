"""A service with keys and a state of its own, and a client of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffcdr.client import Client
from tests.bundles import write_bundle
from tests.serving import serving

SECRET = "correct horse battery staple"  # pragma: allowlist secret
KEYS = f"read,write,admin:{hashlib.sha256(SECRET.encode()).hexdigest()}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("client")
    write_bundle(path / "current", seed=1, users=3000)
    write_bundle(path / "candidate", seed=2, users=3000)
    return path


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with serving(folder / "current", state_url=f"sqlite:{folder / 'state'}", api_keys=KEYS) as http_client:
        yield str(http_client.base_url)


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address, api_key=SECRET) as made:
        yield made
