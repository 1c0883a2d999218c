"""The service as its own process: starting, refusing to start, draining, stopping."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest

from tests import web
from tests.bundles import write_bundle
from tests.servers import UNHURRIED
from tests.waiting import LIMIT_SECONDS, until

COMMAND = [str(Path(sys.executable).with_name("diffcdr")), "serve"]
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "planted"
    write_bundle(path, users=500)
    return path


class Server:
    """A running service; ``log`` grows while it runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[str] = []
        self._found = threading.Event()
        self.address = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if match := re.search(r"on (http://\S+)", line):
                self.address = match[1]
                self._found.set()
        self._found.set()

    def wait(self) -> None:
        assert self._found.wait(LIMIT_SECONDS)
        assert self.address, "".join(self.log)
        until(lambda: self.process.poll() is not None or self.is_ready())
        assert self.process.poll() is None, "".join(self.log)

    def is_ready(self) -> bool:
        """Whether it wants traffic."""
        try:
            return web.get(f"{self.address}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self, number: int) -> int:
        """Send signal ``number`` and return the exit status."""
        self.process.send_signal(number)
        status = self.process.wait(LIMIT_SECONDS)
        self._reader.join(LIMIT_SECONDS)
        return status


@contextmanager
def started(*arguments: object, **environment: str) -> Iterator[Server]:
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **UNHURRIED, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    server = Server(process)
    try:
        server.wait()
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(LIMIT_SECONDS)
        server._reader.join(LIMIT_SECONDS)
        assert process.stderr is not None
        process.stderr.close()


def refused(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """A service that does not start: one clear sentence, no traceback."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr + done.stdout
    return done


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_starts_serves_and_stops_cleanly(bundle: Path, number: int) -> None:
    with started("--bundle", bundle, "--port", 0, DIFFCDR_DRAIN_SECONDS="0") as server:
        answer = web.post(f"{server.address}/v1/recommendations", json={"user_id": "u00100", "k": 3}).json()
        assert (len(answer["items"]), answer["strategy"]) == (3, "transfer")
        assert server.stop(number) == 0
        log = "".join(server.log)
        assert f"bundle={answer['bundle']} device=cpu" in log
        assert "stopped" in log
        assert "Traceback" not in log


def test_the_environment_sets_everything_and_logs_can_be_json(bundle: Path) -> None:
    environment = {
        "DIFFCDR_BUNDLE": str(bundle),
        "DIFFCDR_PORT": "0",
        "DIFFCDR_LOG_FORMAT": "json",
        "DIFFCDR_ACCESS_LOG": "true",
        "DIFFCDR_DRAIN_SECONDS": "0",
    }
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with started(**environment) as server:
        headers = {"X-Request-ID": "abc", "traceparent": trace}
        web.post(f"{server.address}/v1/recommendations", json={"user_id": "u00100"}, headers=headers)
        assert server.stop(signal.SIGTERM) == 0
        entries = [json.loads(line) for line in server.log]
        (mine,) = [entry for entry in entries if entry.get("request_id") == "abc"]
        assert (mine["route"], mine["status"], mine["method"]) == ("/v1/recommendations", "200", "POST")
        assert mine["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
        assert "u00100" not in "".join(server.log)


def test_draining_switches_readiness_off_and_goes_on_serving(bundle: Path) -> None:
    with started("--bundle", bundle, "--port", 0, DIFFCDR_DRAIN_SECONDS="3") as server:
        server.process.send_signal(signal.SIGTERM)
        until(lambda: not server.is_ready())
        ready = web.get(f"{server.address}/readyz")
        assert (ready.status_code, ready.json()["components"]["lifecycle"]) == (503, "draining")
        answer = web.post(f"{server.address}/v1/recommendations", json={"user_id": "u00100"})
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert server.process.wait(LIMIT_SECONDS) == 0


def test_what_is_in_flight_is_finished(bundle: Path) -> None:
    body = "".join(f'{{"user_id": "u{row % 500:05d}", "k": 50}}\n' for row in range(20_000))
    with started("--bundle", bundle, "--port", 0, DIFFCDR_DRAIN_SECONDS="0") as server:
        headers = {"Content-Type": "application/x-ndjson"}
        address = f"{server.address}/v1/recommendations/batch"
        with web.stream("POST", address, content=body, headers=headers) as response:
            received = response.iter_lines()
            next(received)
            server.process.send_signal(signal.SIGTERM)
            assert 1 + sum(1 for _ in received) == 20_000
        assert server.process.wait(LIMIT_SECONDS) == 0


def test_a_second_signal_cuts_the_grace_time_short(bundle: Path) -> None:
    with started("--bundle", bundle, "--port", 0, DIFFCDR_DRAIN_SECONDS="60") as server:
        server.process.send_signal(signal.SIGTERM)
        until(lambda: not server.is_ready())
        assert server.process.poll() is None
        assert server.stop(signal.SIGTERM) == 0


def test_a_taken_port_is_said_and_nothing_starts(bundle: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = refused("--bundle", bundle, "--port", port)
    assert done.returncode == 2
    assert f"port {port}" in done.stderr
    assert "Address already in use" in done.stderr


def test_a_bundle_that_cannot_be_served_is_named(bundle: Path, tmp_path: Path) -> None:
    assert refused("--bundle", tmp_path / "missing").returncode == 3
    damaged = tmp_path / "damaged"
    shutil.copytree(bundle, damaged)
    vectors = damaged / "source_users" / "vectors.npy"
    content = bytearray(vectors.read_bytes())
    content[200] ^= 4
    vectors.write_bytes(content)
    done = refused("--bundle", damaged, "--port", 0)
    assert done.returncode == 3
    assert "source_users/vectors.npy" in done.stderr.replace("\n", "")


def test_cuda_without_a_provider_refuses_to_start(tmp_path: Path) -> None:
    for kind in ("onnx", "affine"):
        write_bundle(tmp_path / kind, kind=kind)
        done = refused("--bundle", tmp_path / kind, "--port", 0, DIFFCDR_DEVICE="cuda")
        assert done.returncode == 4
        assert "CUDA" in done.stderr


def test_bad_settings_are_named(bundle: Path) -> None:
    assert "DIFFCDR_BUNDLE" in refused(DIFFCDR_BUNDLE="").stderr
    done = refused("--bundle", bundle, DIFFCDR_QUEUE_ROWS="none")
    assert (done.returncode, "DIFFCDR_QUEUE_ROWS" in done.stderr) == (2, True)
    assert refused("--bundle", bundle, "--port", "99999").returncode == 2


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_opt_outs_and_erasures_survive_kill_9_right_after_the_answer(
    bundle: Path, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:{tmp_path / 'state.sqlite'}" if kind == "sqlite" else str(request.getfixturevalue("redis_url"))
    suppressed: list[str] = []
    receipts: list[str] = []
    for write in ("opt-out", "erasure", "none"):
        with started("--bundle", bundle, "--port", 0, DIFFCDR_STATE_URL=url) as server:
            for user in suppressed:
                answer = web.post(f"{server.address}/v1/recommendations", json={"user_id": user}).json()
                assert (user, answer["fallback_reason"]) == (user, "opted_out")
            if receipts:
                assert web.delete(f"{server.address}/v1/users/u00101").json()["receipt"] == receipts[0]
            if write == "opt-out":
                assert web.put(f"{server.address}/v1/users/u00100/opt-out").status_code == 204
                suppressed.append("u00100")
            elif write == "erasure":
                erased = web.delete(f"{server.address}/v1/users/u00101")
                assert erased.status_code == 202
                suppressed.append("u00101")
                receipts.append(erased.json()["receipt"])
            server.process.kill()
            server.process.wait(LIMIT_SECONDS)
