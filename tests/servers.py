"""The real commands, as a person runs them: ``diffcdr …`` to its end, and ``diffcdr serve`` while a test asks it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STARTUP_SECONDS = 60.0
STOP_SECONDS = 30.0

# One thread each: tests run side by side, and threads that wait for each other on few cores cost minutes.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "2", "COLUMNS": "120"}


@dataclass(frozen=True)
class Server:
    """A running ``diffcdr serve``: its address, its process, and where its output goes."""

    address: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.terminate()
        return self.process.wait(STOP_SECONDS)


def diffcdr(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run ``diffcdr arguments`` in a process of its own; its output is shown where it fails and ``check`` is set."""
    done = subprocess.run(
        [_command(), *map(str, arguments)], env=_environment({}), capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, f"diffcdr {' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}"
    return done


@contextmanager
def running_server(bundle: Path, *, log: Path, **settings: str) -> Iterator[Server]:
    """``diffcdr serve`` of ``bundle`` on a free port, ready to answer; ``settings`` are ``DIFFCDR_*`` variables."""
    environment = _environment({"DIFFCDR_DRAIN_SECONDS": "0", **settings})
    with log.open("wb") as output:
        process = subprocess.Popen(
            [_command(), "serve", "--bundle", str(bundle), "--port", "0"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        server = Server(_address(process, log), process, log)
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where the service says it is, once it says so: the port is bound and the model loaded by then."""
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if said := re.search(r"http://127\.0\.0\.1:\d+", log.read_text()):
            return said.group()
        time.sleep(0.05)
    raise AssertionError(f"the service did not start:\n{log.read_text()}")


def _command() -> str:
    return str(Path(sys.executable).with_name("diffcdr"))


def _environment(settings: dict[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DIFFCDR_")}
    return {**inherited, **ENVIRONMENT, **settings}
