"""What reads bytes of bundles and of requests gives answers and refusals, and raises nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attack.fuzz import fuzz


def test_whatever_the_bytes_they_are_taken_or_refused(tmp_path: Path) -> None:
    fuzz(tmp_path, examples=80)


@pytest.mark.attack
def test_very_many_bytes_are_taken_or_refused(tmp_path: Path) -> None:
    fuzz(tmp_path, examples=2000)
