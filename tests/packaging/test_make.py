"""The Makefile and its helper scripts, up to where they would touch the system."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.waiting import LIMIT_SECONDS

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ) | ({"PATH": str(path)} if path else {})
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS
    )


def program(folder: Path, name: str, body: str) -> None:
    """An executable shell script ``folder/name``."""
    path = folder / name
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH with the little that the scripts call, and a stand-in for the rest."""
    for name in ("bash", "dirname", "env", "mktemp", "rm", "cat"):
        (tmp_path / name).symlink_to(next(Path(p) / name for p in ("/usr/bin", "/bin") if (Path(p) / name).exists()))
    return tmp_path


def test_make_alone_lists_every_target() -> None:
    listed = set(re.findall(r"^  make (\S+)", run("make").stdout, flags=re.MULTILINE))
    phony = set(re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert listed == phony - {"help"} | {"help"}
    assert {"demo", "install", "check", "test", "clean"} <= listed


def test_a_missing_package_is_named_to_someone_who_is_not_root(tools: Path) -> None:
    program(tools, "apt-get", "echo called")
    program(tools, "id", "echo 1000")
    done = run("scripts/ensure-package.sh", "redis-server", path=tools)
    assert done.returncode == 1
    assert "sudo apt-get install redis-server" in done.stderr
    assert done.stdout == ""


def test_a_system_without_apt_is_told_what_to_install(tools: Path) -> None:
    program(tools, "id", "echo 0")
    done = run("scripts/ensure-package.sh", "redis-server", path=tools)
    assert done.returncode == 1
    assert "redis-server" in done.stderr


def test_root_gets_it_installed_with_fresh_package_lists_where_needed(tools: Path) -> None:
    program(tools, "id", "echo 0")
    log = tools / "calls"
    program(tools, "apt-get", f'echo "$1" >> {log}; [ "$1" = update ] || [ "$(cat {log} | wc)" != "1" ]')
    program(tools, "wc", "n=0; while read -r _; do n=$((n + 1)); done; echo $n")
    done = run("scripts/ensure-package.sh", "redis-server", path=tools)
    assert done.returncode == 0, done.stderr
    assert log.read_text().split() == ["install", "update", "install"]


def test_an_install_that_fails_shows_why(tools: Path) -> None:
    program(tools, "id", "echo 0")
    program(tools, "apt-get", "echo E: no such package; exit 100")
    done = run("scripts/ensure-package.sh", "redis-server", path=tools)
    assert done.returncode == 1
    assert "E: no such package" in done.stderr
    assert "could not install redis-server" in done.stderr


def test_an_old_python_is_refused_by_version(tools: Path) -> None:
    program(tools, "python3", '[ "$1" = --version ] && echo "Python 3.9.2" || exit 1')
    done = run("scripts/make-venv.sh", "python3", str(tools / "venv"), path=tools)
    assert done.returncode == 1
    assert "Python 3.9.2 is too old, 3.11 or newer is needed" in done.stderr
    assert not (tools / "venv").exists()


def test_ci_runs_the_checks_and_the_tests() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    make, *targets, _ = script.read_text().rstrip().splitlines()[-1].split()
    assert make == "make"
    assert {"check", "soak"} <= set(targets[:-1])
    assert targets[-1] == "test", "pytest's summary is the last line"
