"""What `make gpu-check` writes, and which tests it alone runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from scripts.checks.gpu_check import as_table

ROOT = Path(__file__).resolve().parents[4]


def test_the_table_names_the_machine_and_whether_tests_passed() -> None:
    row = {"bench": "topk", "case": "top 20", "ours": 2_295_000.0, "baseline": 1.0, "unit": "users/s", "ratio": 2.5}
    text = as_table(Path(sys.executable), [row], tests=0)
    assert "tests on the GPU passed" in text
    assert "onnxruntime" in text
    assert text.splitlines()[-1].startswith("| topk: top 20 | 2.295e+06 | 1 | users/s | 2.5 |")
    assert "FAILED" in as_table(Path(sys.executable), [row], tests=1)


def test_tests_that_want_a_gpu_run_there_alone() -> None:
    command = ["-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", "--noconftest", "tests/gpu"]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "no tests collected (12 deselected)" in done.stdout
