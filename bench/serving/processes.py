"""Servers in processes of their own, pinned to one core, while a load runs on another."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from diffcdr.errors import DiffCDRError

STARTUP_S = 60.0
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Served:
    """A server that answers on ``port`` of this machine."""

    port: int
    process: subprocess.Popen[bytes]
    started: float
    """Seconds from the start of the process to its first 200."""

    def anonymous_mb(self) -> float:
        """Memory of its own, in MB: resident pages that no file backs, so mapped tables do not count."""
        return self._memory_mb("RssAnon")

    def resident_mb(self) -> float:
        """All that is resident, mapped files included, in MB."""
        return self._memory_mb("VmRSS")

    def _memory_mb(self, name: str) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) / 1e3 for line in status.splitlines() if line.startswith(name))

    def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """One request. Raises DiffCDRError where the answer is not a success."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=STARTUP_S)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if not 200 <= answer.status < 300:
            raise DiffCDRError(
                f"{method} {path} answered {answer.status}: {content[:300]!r}; this is a defect, report it"
            )
        return content

    def terminate(self) -> None:
        """Ask it to stop, as an orchestrator does."""
        self.process.send_signal(signal.SIGTERM)


@contextmanager
def serving(bundle: Path, *, core: int | None, **settings: str) -> Iterator[Served]:
    """``diffcdr serve`` of ``bundle``; ``settings`` are further environment variables."""
    command = [str(Path(sys.executable).with_name("diffcdr")), "serve", "--bundle", str(bundle), "--port"]
    state = f"sqlite:{bundle.parent / 'bench-state.sqlite'}"
    environment = {"DIFFCDR_STATE_URL": state, "DIFFCDR_DRAIN_SECONDS": "1", **settings}
    with _running(command, ready="/readyz", core=core, environment=environment) as served:
        yield served


@contextmanager
def bare(answer: Path, *, core: int | None) -> Iterator[Served]:
    """The plain application of :mod:`bench.serving.bare`, answering with the bytes in ``answer``."""
    command = [sys.executable, "-m", "bench.serving.bare"]
    with _running(command, ready="/openapi.json", core=core, arguments=[str(answer)]) as served:
        yield served


@contextmanager
def _running(
    command: Sequence[str],
    *,
    ready: str,
    core: int | None,
    arguments: Sequence[str] = (),
    environment: dict[str, str] | None = None,
) -> Iterator[Served]:
    port = free_port()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DIFFCDR_")}
    begun = time.perf_counter()
    pinned = [] if core is None else ["taskset", "--cpu-list", str(core)]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            [*pinned, *command, str(port), *arguments],
            env={**inherited, **ONE_THREAD, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            _wait(process, port, ready, log=log)
            yield Served(port, process, time.perf_counter() - begun)
        finally:
            process.kill()


def _wait(process: subprocess.Popen[bytes], port: int, ready: str, *, log: IO[bytes]) -> None:
    deadline = time.monotonic() + STARTUP_S
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1.0)
        try:
            connection.request("GET", ready)
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.01)
        finally:
            connection.close()
    process.kill()
    log.seek(0)
    said = log.read().decode(errors="replace")
    raise DiffCDRError(f"the server under test did not start: {said.strip()[-500:]}")


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
