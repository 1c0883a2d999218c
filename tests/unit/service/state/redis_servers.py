"""Redis servers of every kind, and a balancer before them, for tests."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis

from tests.waiting import LIMIT_SECONDS, until


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_of(client: redis.Redis) -> int:
    return int(client.connection_pool.connection_kwargs["port"])


@contextmanager
def server(folder: Path, *options: str, content: str = "") -> Iterator[redis.Redis]:
    """A redis-server on a port of its own; ``content`` is its configuration file."""
    program = shutil.which("redis-server")
    assert program is not None
    folder.mkdir()
    port = free_port()
    file = folder / "redis.conf"
    file.write_text(f"port {port}\nbind 127.0.0.1\ndir {folder}\n" + content)
    saving = [] if "--sentinel" in options else ["--save", ""]
    process = subprocess.Popen([program, str(file), *options, *saving], stdout=subprocess.DEVNULL)
    client = redis.Redis(port=port, decode_responses=True)
    try:
        until(lambda: answers(client))
        yield client
    finally:
        client.close()
        process.kill()
        process.wait(LIMIT_SECONDS)


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except (redis.exceptions.ConnectionError, redis.exceptions.BusyLoadingError):
        return False


class Balancer:
    """New connections go to ``target``; open ones stay where they are, as behind a DNS name or a TCP balancer."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.open: list[socket.socket] = []
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.target))
            self.open += [near, far]
            for one, other in ((near, far), (far, near)):
                thread = threading.Thread(target=self._pump, args=(one, other))
                thread.start()
                self.threads.append(thread)

    @staticmethod
    def _pump(one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            return


@contextmanager
def balancer(target: int) -> Iterator[Balancer]:
    front = Balancer(target)
    try:
        yield front
    finally:
        front.listener.shutdown(socket.SHUT_RDWR)
        front.listener.close()
        for end in front.open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in front.threads:
            thread.join(LIMIT_SECONDS)
