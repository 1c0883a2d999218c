"""What executors import."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["prepare", "slices", "score"])
def test_executors_need_no_torch(module: str) -> None:
    code = f"import sys, training.spark.{module}; sys.exit('torch' in sys.modules or 'implicit' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
