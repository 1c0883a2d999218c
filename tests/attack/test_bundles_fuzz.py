"""What reads a bundle's bytes gives arrays and refusals, and raises nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attack.fuzz import fuzz


def test_whatever_the_bytes_they_are_taken_or_refused(tmp_path: Path) -> None:
    fuzz(tmp_path, examples=150)


@pytest.mark.attack
def test_very_many_bytes_are_taken_or_refused(tmp_path: Path) -> None:
    fuzz(tmp_path, examples=5000)
