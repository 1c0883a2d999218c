"""Several worker processes as one service: they follow each other, and one may die."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests import web
from tests.bundles import write_bundle
from tests.servers import Server, diffcdr, running_server
from tests.serving import metric
from tests.waiting import until

WORKERS = 3
BODY = {"user_id": "u00100", "k": 5}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed, name in enumerate(("stable", "candidate")):
        write_bundle(tmp_path / name, seed=seed, users=500)
    return tmp_path


@pytest.fixture
def server(root: Path, tmp_path: Path) -> Iterator[Server]:
    with running_server(root / "stable", log=tmp_path / "log", DIFFCDR_WORKERS=str(WORKERS)) as server:
        yield server
        pids = workers(server)
        assert server.stop() == 0
        assert not any(alive(pid) for pid in pids), "nobody is left behind"


def workers(server: Server) -> list[int]:
    parent = server.process.pid
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def answers(server: Server, count: int = 12) -> list[str]:
    """Which bundles answer; a connection each, so that every worker gets some."""
    return [web.post(f"{server.address}/v1/recommendations", json=BODY).json()["bundle"] for _ in range(count)]


def refused_paths(server: Server) -> list[str]:
    """What could not be loaded, as one of the workers knows it."""
    return [each["path"] for each in web.get(f"{server.address}/v1/models").json()["refused"]]


def restored(server: Server, dead: int) -> None:
    """Wait until another worker answers in the place of ``dead``."""
    with web.client(base_url=server.address) as client:
        until(
            lambda: dead not in workers(server) and metric(client, "diffcdr_workers") == WORKERS,
            why=server.log.read_text,
        )


def test_a_change_made_through_one_worker_holds_in_all_and_in_those_that_come_later(server: Server) -> None:
    (first,) = set(answers(server))
    load = {"path": "candidate", "activate": True}
    second = web.post(f"{server.address}/v1/admin/models/load", json=load).json()["id"]
    until(lambda: set(answers(server)) == {second})
    for pid in workers(server):
        os.kill(pid, signal.SIGKILL)
        restored(server, pid)
    assert set(answers(server)) == {second}
    until(lambda: len({web.get(f"{server.address}/v1/models").text for _ in range(12)}) == 1)
    assert web.post(f"{server.address}/v1/admin/models/rollback").json()["id"] == first
    refused = web.post(f"{server.address}/v1/admin/models/load", json={"path": "missing"})
    assert refused.status_code == 422
    until(lambda: set(answers(server)) == {first})
    until(lambda: all(refused_paths(server) == ["missing"] for _ in range(12)))


def test_a_worker_that_is_killed_under_load_takes_only_its_own_requests_along(server: Server) -> None:
    done = threading.Event()
    answered: list[int] = []
    failed: list[Exception] = []
    sums: list[float] = []

    def ask() -> None:
        with web.client(base_url=server.address) as client:
            while not done.is_set():
                try:
                    answered.append(client.post("/v1/recommendations", json=BODY).status_code)
                except httpx.TransportError as error:
                    failed.append(error)

    def watch() -> None:
        while not done.is_set():
            with web.client(base_url=server.address) as client:
                sums.append(metric(client, "diffcdr_recommendations_total"))

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for thread in askers:
        thread.start()
    watcher = threading.Thread(target=watch)
    try:
        until(lambda: len(answered) > 100)
        victim = workers(server)[0]
        os.kill(victim, signal.SIGKILL)
        watcher.start()
        restored(server, victim)
        so_far, seen = len(answered), len(sums)
        until(lambda: len(answered) > so_far + 100 and len(sums) > seen)
    finally:
        done.set()
        for thread in askers:
            thread.join()
        watcher.join()
    assert set(answered) == {200}
    assert len(failed) <= len(askers), "what was in flight there, and nothing else"
    assert sums == sorted(sums), "what a dead worker counted stays counted"
    with web.client(base_url=server.address) as client:
        lost = len(answered) - metric(client, "diffcdr_recommendations_total")
        assert 0 >= lost >= -len(askers), "metrics are whole: every answer, and those that never arrived"


def test_the_last_15_minutes_are_whole_whichever_of_two_workers_is_asked(root: Path, tmp_path: Path) -> None:
    with running_server(root / "stable", log=tmp_path / "log", DIFFCDR_WORKERS="2") as server:

        def latest() -> list[dict[str, Any]]:
            """The sample of this moment, told by some worker each time: a connection each."""
            told = [web.get(f"{server.address}/v1/activity") for _ in range(12)]
            assert {answer.status_code for answer in told} == {200}, server.log.read_text()
            return [answer.json()["samples"][-1] for answer in told]

        answers(server, 20)
        assert web.post(f"{server.address}/v1/recommendations", json={"k": 0}).status_code == 422
        shares = []
        for _ in range(2):
            for sample in latest():
                assert (sample["requests"], sample["statuses"]) == (21, {"2xx": 20, "4xx": 1})
                assert sample["strategies"] == {"transfer": 20} and sample["latency"][-1] == 21
                assert 1 <= sample["batches"] <= sample["batch_rows"] == 20
                shares.append(sample["workers"])
            # What a worker that died has answered stays answered.
            dead = workers(server)[0]
            os.kill(dead, signal.SIGKILL)
            until(partial(lambda dead: dead not in workers(server), dead))
        assert 2 in shares and max(shares) == 2


def test_workers_end_with_whoever_started_them(root: Path, tmp_path: Path) -> None:
    with running_server(root / "stable", log=tmp_path / "log", DIFFCDR_WORKERS="2") as server:
        pids = workers(server)
        assert len(pids) == 2
        server.process.kill()
        server.process.wait()
        until(lambda: not any(alive(pid) for pid in pids))


def test_what_cannot_be_served_ends_the_program_as_with_one_process(root: Path) -> None:
    vectors = root / "stable" / "target_items" / "vectors.npy"
    content = bytearray(vectors.read_bytes())
    content[-1] ^= 1
    vectors.write_bytes(content)
    done = diffcdr("serve", "--bundle", root / "stable", "--port", "0", "--workers", "2", check=False)
    assert done.returncode == 3
    assert "vectors.npy" in done.stderr
    assert "Traceback" not in done.stderr
