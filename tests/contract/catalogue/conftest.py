"""Two services with one state, for what is changed in one and has to hold in both; tests leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.bundles import write_bundle
from tests.serving import serving


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("changing") / "bundle"
    write_bundle(path, items=80)
    return path


@pytest.fixture(scope="module")
def replicas(bundle: Path) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Two services with one state."""
    state = f"sqlite:{bundle.with_name('state.sqlite')}"
    with serving(bundle, state_url=state) as one, serving(bundle, state_url=state) as other:
        yield one, other
