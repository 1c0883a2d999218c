from __future__ import annotations

import pytest

from tests.unit.training.tiny import RANGE, load, quick_config
from training.data.domains import DomainPair
from training.experiment.plan import Setup


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> DomainPair:
    return load(tmp_path_factory.mktemp("domains"))


@pytest.fixture(scope="session")
def setup() -> Setup:
    return Setup("reference", quick_config(), RANGE)
