"""The real commands, as a person runs them: ``diffcdr …`` to its end, and ``diffcdr serve`` while a test asks it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import THREADS
from tests.waiting import LIMIT_SECONDS, until

ROOT = Path(__file__).resolve().parents[1]

ENVIRONMENT = {**THREADS, "COLUMNS": "120"}
UNHURRIED = {"DIFFCDR_TIMEOUT_MS": "60000", "DIFFCDR_STATE_PATIENCE_MS": "60000"}
"""As :data:`tests.serving.UNHURRIED`, for processes."""


@dataclass(frozen=True)
class Server:
    """A running ``diffcdr serve``: its address (``unix:FILE`` for a socket), its process, where its output goes."""

    address: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.terminate()
        return self.process.wait(LIMIT_SECONDS)


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
    environment = _environment({"DIFFCDR_DRAIN_SECONDS": "0", **UNHURRIED, **settings})
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


@contextmanager
def proxy(folder: Path, port: int, upstreams: list[str], *, rate: str = "100000r/s") -> Iterator[str]:
    """The committed configuration; only where it listens, where it writes and whom it asks are this test's own."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    assert nginx is not None, "nginx is not installed; `make test` installs it, or: apt-get install nginx-light"
    text = (ROOT / "deploy" / "nginx" / "nginx.conf").read_text()
    replaced = {
        "listen 8000": f"listen 127.0.0.1:{port}",
        "/tmp/": f"{folder}/",
        "rate=200r/s": f"rate={rate}",
        "burst=200": "burst=5" if rate != "100000r/s" else "burst=1000",
        "worker_processes auto": "worker_processes 1",
    }
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "nginx.conf").write_text(text)
    server = (ROOT / "deploy" / "nginx" / "upstream.conf").read_text()
    own = [server.replace("service:8000", address.removeprefix("http://")) for address in upstreams]
    (folder / "upstream.conf").write_text("\n".join(own))
    command = [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
    with (folder / "nginx.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        until(lambda: process.poll() is not None or _accepts(port), why=(folder / "nginx.log").read_text)
        assert process.poll() is None, (folder / "nginx.log").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(LIMIT_SECONDS)


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where the service says that it serves; until then it may still end for a reason."""

    def look() -> str:
        told = log.read_text()
        said = re.search(r"serving .* on (http://127\.0\.0\.1:\d+|unix:\S+)", told)
        assert process.poll() is None, f"the service did not start:\n{told}"
        return said[1] if said is not None else ""

    return until(look, why=log.read_text)


def _command() -> str:
    return str(Path(sys.executable).with_name("diffcdr"))


def _environment(settings: dict[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DIFFCDR_")}
    return {**inherited, **ENVIRONMENT, **settings}
