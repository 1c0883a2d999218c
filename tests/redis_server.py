"""A redis-server of one test alone, to be killed, paused, filled and started again with what it had."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.waiting import LIMIT_SECONDS, until


def answers(client: redis.Redis) -> bool:
    """Whether ``client`` has a server that has begun to answer."""
    try:
        return bool(client.ping())
    except (redis.exceptions.ConnectionError, redis.exceptions.BusyLoadingError):
        return False


class OwnRedis:
    """A redis-server on a Unix socket in ``folder``, where its files are too. It is not started yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = folder / "own.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self._options: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """As ``DIFFCDR_STATE_URL`` takes it."""
        return f"unix://{self._socket}"

    def start(self, *options: str) -> redis.Redis:
        """Start it, with ``options`` or those of the last time; a client of it once it answers."""
        self._options = options or self._options
        server = shutil.which("redis-server")
        assert server is not None
        where = ["--port", "0", "--unixsocket", str(self._socket), "--dir", str(self._folder), "--save", ""]
        self._process = subprocess.Popen([server, *where, *self._options], stdout=subprocess.DEVNULL)
        client = redis.Redis(unix_socket_path=str(self._socket))
        until(lambda: answers(client))
        return client

    def kill(self) -> None:
        """``kill -9``, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(LIMIT_SECONDS)
            self._process = None
            self._socket.unlink(missing_ok=True)

    @contextmanager
    def killed(self) -> Iterator[None]:
        """Killed meanwhile, and started again afterwards."""
        self.kill()
        yield
        self.start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stopped in its tracks meanwhile: connections stay open and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)
