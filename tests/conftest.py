"""Fixtures every kind of test may need: a free port, and a Redis of its own."""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, settings

from tests.redis_server import OwnRedis, answers
from tests.waiting import LIMIT_SECONDS, until

ROOT = Path(__file__).resolve().parent.parent

pytest_plugins = ["tests.browser", "tests.gpu_stand_in"]

# How long an example takes, and how fast one is drawn, depends on who else uses the machine.
settings.register_profile("tests", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


@pytest.fixture
def free_port() -> int:
    """A TCP port on the loopback interface that nothing listens on.

    Of those below the ones that the kernel gives to whoever connects, so that nobody gets it before it is used.
    """
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    pytest.fail("of a hundred ports from 20000 to 32000 none is free")


@pytest.fixture(scope="session")
def redis_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The Unix socket of a real redis-server that lives as long as the test session."""
    server = shutil.which("redis-server")
    if server is None:
        pytest.fail("redis-server is not installed; `make test` installs it, or: apt-get install redis-server")
    folder = tmp_path_factory.mktemp("redis")
    path = folder / "redis.sock"
    # A Unix socket cannot collide with another test process's, as a port can.
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder), "--daemonize", "no"]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen([server, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        with redis.Redis(unix_socket_path=str(path)) as client:
            until(lambda: process.poll() is not None or answers(client))
        assert process.poll() is None, (folder / "redis.log").read_text()
        yield path
    finally:
        process.terminate()
        process.wait(LIMIT_SECONDS)


@pytest.fixture
def redis_url(redis_socket: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of a Redis that is empty at the start of the test, and waited for as long as a busy machine needs.

    What the service does when Redis is late is asked with :func:`own_redis`.
    """
    for module in ("service.state.redis", "service.state.redis_vectors"):
        monkeypatch.setattr(f"{module}.TIMEOUT_SECONDS", 20.0)
    url = f"unix://{redis_socket}"
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    """A redis-server of this test alone; it is not started yet."""
    folder = tmp_path / "redis"
    folder.mkdir()
    server = OwnRedis(folder)
    yield server
    server.kill()
