"""Terminals that know ASCII alone, and other encodings that lack letters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bundles import write_bundle

DIFFCDR = Path(sys.executable).with_name("diffcdr")


@pytest.mark.parametrize("setting", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C"}])
@pytest.mark.parametrize(
    "command", [["inspect", "bundle"], ["--help"], ["score", "--help"], ["events", "--help"], ["inspect", "bücher"]]
)
def test_nothing_fails_for_a_letter(tmp_path: Path, setting: dict[str, str], command: list[str]) -> None:
    write_bundle(tmp_path / "bundle")
    environment = {**os.environ, **setting}
    done = subprocess.run([DIFFCDR, *command], check=False, env=environment, cwd=tmp_path, capture_output=True)
    encoding = setting.get("PYTHONIOENCODING", "utf-8")
    out, err = done.stdout.decode(encoding), done.stderr.decode(encoding)
    assert "Traceback" not in err
    assert "UnicodeEncodeError" not in err
    assert done.returncode == (3 if command[-1] == "bücher" else 0), err
    if encoding == "ascii" and command == ["inspect", "bundle"]:
        assert "+/-" in out or "Bundle" in out
    if encoding == "ascii" and command[-1] == "bücher":
        assert "bucher" in err
