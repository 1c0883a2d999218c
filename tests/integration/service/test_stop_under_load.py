"""A service that is told to stop while many ask: whoever could connect is answered, whoever could not is refused."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bench.serving.load import REFUSED, Outcome, Target, open_loop, request, run
from bench.serving.serve import cold_requests
from service.process.listening import bind, turn_away
from tests import web
from tests.attack.service_processes import worker_ids
from tests.bundles import write_bundle
from tests.servers import Server, running_server
from tests.waiting import LIMIT_SECONDS, async_until, elapse, until

RATE, SECONDS, DRAIN = 150.0, 2.0, 0.5
MANY = 10
LONG_DRAIN = 2.0
"""Long enough that a busy machine does what has to be done meanwhile."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "current"
    write_bundle(path, users=500)
    return path


def port_of(server: Server) -> int:
    return urlsplit(server.address).port or 0


async def load_and_stop(server: Server) -> list[Outcome]:
    """Tell it to stop once it has much to do, and go on until it is no longer there."""
    sent = 0

    def counted() -> Iterator[bytes]:
        nonlocal sent
        for each in cold_requests():
            sent += 1
            yield each

    load = asyncio.ensure_future(open_loop(Target(port_of(server), counted()), rate=RATE, seconds=SECONDS))
    await async_until(lambda: sent > 3 * MANY)
    server.process.terminate()
    outcomes = [await load]
    while sum(outcome.statuses[REFUSED] for outcome in outcomes) <= MANY:
        outcomes.append(await open_loop(Target(port_of(server), cold_requests()), rate=RATE, seconds=0.3))
    return outcomes


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_costs_nobody_an_answer(bundle: Path, tmp_path: Path, workers: int) -> None:
    settings = {"DIFFCDR_DRAIN_SECONDS": str(DRAIN), "DIFFCDR_WORKERS": str(workers)}
    with running_server(bundle, log=tmp_path / "log", **settings) as server:
        outcomes = run(load_and_stop(server))
        assert server.process.wait(LIMIT_SECONDS) == 0
    statuses = sum((outcome.statuses for outcome in outcomes), Counter[int]())
    assert sum(outcome.failed for outcome in outcomes) == 0, statuses
    assert set(statuses) <= {200, 503, REFUSED}
    assert statuses[200] > MANY
    assert statuses[REFUSED] > MANY
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_who_waits_in_the_kernel_to_be_accepted_is_answered(bundle: Path, tmp_path: Path) -> None:
    """The service is held up from before its grace time ends until after; all who connected meanwhile get answers."""
    with running_server(bundle, log=tmp_path / "log", DIFFCDR_DRAIN_SECONDS=str(LONG_DRAIN)) as server:
        with web.client(base_url=server.address) as client:
            assert client.get("/readyz").status_code == 200
            server.process.terminate()
            until(lambda: client.get("/readyz").status_code == 503)
            drained = time.monotonic() + LONG_DRAIN
        server.process.send_signal(signal.SIGSTOP)
        waiting = [socket.create_connection(("127.0.0.1", port_of(server)), timeout=10) for _ in range(40)]
        for connection in waiting[:20]:
            connection.sendall(request("GET", "/v1/items/popular?k=1"))
        elapse(drained - time.monotonic() + 0.1)
        server.process.send_signal(signal.SIGCONT)
        for connection in waiting[20:]:
            connection.sendall(request("GET", "/v1/items/popular?k=1"))
        for connection in waiting:
            with connection:
                assert connection.recv(12) == b"HTTP/1.1 200"
        assert server.process.wait(LIMIT_SECONDS) == 0


NEVER_ENDS = "import threading; threading.Thread(target=threading.Event().wait, name='never ends').start()"


@pytest.mark.parametrize("workers", [1, 2])
def test_the_process_ends_within_its_limit_whatever_is_left_open(bundle: Path, tmp_path: Path, workers: int) -> None:
    """Python starts with a thread that never ends, which the interpreter waits for; one worker of two is suspended."""
    (tmp_path / "sitecustomize.py").write_text(NEVER_ENDS)
    settings = {"DIFFCDR_FINISH_SECONDS": "1", "DIFFCDR_CLOSE_SECONDS": "0.3", "DIFFCDR_WORKERS": str(workers)}
    with running_server(bundle, log=tmp_path / "log", PYTHONPATH=str(tmp_path), **settings) as server:
        if workers > 1:
            os.kill(worker_ids(server.process.pid)[0], signal.SIGSTOP)
        assert server.stop() == 1
    told = (tmp_path / "log").read_text()
    assert "never ends" in told.splitlines()[-1] and "so it ends now" in told.splitlines()[-1]
    assert (workers > 1) == ("has not stopped within 2.3 s of being told to, and is killed" in told)
    assert "Traceback" not in told


def test_after_the_last_call_nobody_connects_and_who_had_connected_is_accepted() -> None:
    with bind("127.0.0.1", 0) as listener:
        listener.listen()
        address = listener.getsockname()
        with socket.create_connection(address, timeout=5) as early:
            turn_away(listener)
            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.2)
            early.sendall(b"in time")
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.recv(16) == b"in time"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)
