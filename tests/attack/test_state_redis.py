"""A Redis that hangs, rolls back, keeps nothing or holds garbage: nobody who opted out is personalised, none waits."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import web
from tests.attack.service_processes import NOT_YET, answer, every_path, personal, state_of
from tests.bundles import write_bundle
from tests.redis_server import OwnRedis
from tests.servers import running_server
from tests.serving import metric
from tests.waiting import until

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
DENIED = ("popular", "state_unavailable")
SEQUENCE = "diffcdr:state:sequence"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "planted"
    write_bundle(path, users=300)
    return path


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Process ``pid`` stands still meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def opt_out(address: str, user: str) -> None:
    assert web.put(f"{address}/v1/users/{user}/opt-out").status_code == 204


def test_a_replica_that_stood_still_misses_nothing_of_a_redis_that_was_rolled_back(
    bundle: Path, own_redis: OwnRedis, tmp_path: Path
) -> None:
    redis = own_redis.start("--save", "3600 1")
    settings = {"DIFFCDR_STATE_URL": own_redis.url}
    with (
        running_server(bundle, log=tmp_path / "one", **settings) as one,
        running_server(bundle, log=tmp_path / "two", **settings) as two,
    ):
        opt_out(one.address, "u00100")
        redis.save()
        for number in range(101, 106):
            opt_out(one.address, f"u{number:05d}")
        assert answer(two.address, "u00105") == ("popular", "opted_out")
        with stopped(two.process.pid):
            own_redis.kill()
            own_redis.start("--save", "3600 1")
            # As many as were lost: the counter stands where it stood.
            for number in range(201, 206):
                opt_out(one.address, f"u{number:05d}")
        for number in (*range(100, 106), *range(201, 206)):
            for replica in (one, two):
                assert answer(replica.address, f"u{number:05d}") == ("popular", "opted_out"), number
        assert answer(two.address, "u00110") == ("transfer", None)
        assert "lost or replaced" in one.log.read_text() + two.log.read_text()


def test_a_redis_that_would_lose_what_it_acknowledged_is_told_of_or_refused(
    bundle: Path, own_redis: OwnRedis, tmp_path: Path
) -> None:
    redis = own_redis.start("--maxmemory-policy", "allkeys-lru")
    settings = {"DIFFCDR_STATE_URL": own_redis.url}
    with running_server(bundle, log=tmp_path / "log", **settings) as server:
        log = server.log.read_text()
        assert "stores nothing on disk" in log and "maxmemory-policy noeviction" in log
        assert answer(server.address, "u00100") == ("transfer", None)
    with running_server(bundle, log=tmp_path / "log", DIFFCDR_STATE_DURABLE="require", **settings) as server:
        assert answer(server.address, "u00100") == DENIED
        assert web.put(f"{server.address}/v1/users/u00100/opt-out").status_code == 503
        assert "DIFFCDR_STATE_DURABLE" in server.log.read_text()
        redis.config_set("appendonly", "yes")
        redis.config_set("maxmemory-policy", "noeviction")
        until(lambda: answer(server.address, "u00100") == ("transfer", None), while_raising=NOT_YET)
        opt_out(server.address, "u00100")


@pytest.mark.parametrize("part", ["sequence", "identity", "changed", "opted_out"])
def test_a_part_of_the_state_that_is_gone_is_not_taken_for_an_empty_one(
    bundle: Path, own_redis: OwnRedis, tmp_path: Path, part: str
) -> None:
    redis = own_redis.start(*DURABLE)
    with running_server(bundle, log=tmp_path / "log", DIFFCDR_STATE_URL=own_redis.url) as server:
        opt_out(server.address, "u00100")
    redis.delete(f"diffcdr:state:{part}")
    with running_server(bundle, log=tmp_path / "log", DIFFCDR_STATE_URL=own_redis.url) as server:
        assert answer(server.address, "u00100") == answer(server.address, "u00101") == DENIED
        assert state_of(server.address) == ("degraded", 0.0)


@pytest.mark.parametrize("garbage", ["not a number", "-1", "1e9"])
def test_garbage_in_place_of_the_sequence_is_told_and_got_over(
    bundle: Path, own_redis: OwnRedis, tmp_path: Path, garbage: str
) -> None:
    redis = own_redis.start(*DURABLE)
    with running_server(bundle, log=tmp_path / "log", DIFFCDR_STATE_URL=own_redis.url) as server:
        opt_out(server.address, "u00100")
        good = redis.get(SEQUENCE)
        redis.set(SEQUENCE, garbage)
        assert answer(server.address, "u00100") == answer(server.address, "u00101") == DENIED
        until(lambda: state_of(server.address) == ("degraded", 0.0), while_raising=NOT_YET)
        redis.delete(SEQUENCE)
        redis.lpush(SEQUENCE, "another type")
        assert answer(server.address, "u00101") == DENIED
        redis.delete(SEQUENCE)
        assert good is not None
        redis.set(SEQUENCE, good)
        until(lambda: state_of(server.address) == ("ok", 1.0), while_raising=NOT_YET)
        assert answer(server.address, "u00100") == ("popular", "opted_out")
        assert answer(server.address, "u00101") == ("transfer", None)


def test_a_hung_redis_holds_up_nobody(bundle: Path, own_redis: OwnRedis, tmp_path: Path) -> None:
    own_redis.start(*DURABLE)
    settings = {"DIFFCDR_STATE_URL": own_redis.url, "DIFFCDR_STATE_PATIENCE_MS": "250"}
    with running_server(bundle, log=tmp_path / "log", **settings) as server:
        opt_out(server.address, "u00100")
        with web.client(base_url=server.address) as client, own_redis.paused():
            began = time.monotonic()
            first = client.post("/v1/recommendations", json={"user_id": "newcomer", "timeout_ms": 100})
            assert first.status_code in (200, 504)
            for _ in range(20):
                said = client.post("/v1/recommendations", json={"user_id": "newcomer", "timeout_ms": 100}).json()
                assert (said["strategy"], said["fallback_reason"]) == DENIED
            assert time.monotonic() - began < 20, "each waits some milliseconds; each for Redis would take 42 s"
            assert personal(every_path(client, "u00101")) == []
        until(lambda: answer(server.address, "u00101") == ("transfer", None), while_raising=NOT_YET)
        assert answer(server.address, "u00100") == ("popular", "opted_out")


@pytest.mark.attack
def test_a_hung_redis_costs_little_of_the_rate(bundle: Path, own_redis: OwnRedis, tmp_path: Path) -> None:
    own_redis.start(*DURABLE)

    def rate(address: str, seconds: float) -> float:
        def ask(_: int) -> int:
            count = 0
            with web.client(base_url=address) as client:
                ends = time.monotonic() + seconds
                while time.monotonic() < ends:
                    assert client.post("/v1/recommendations", json={"user_id": "u00101"}).status_code == 200
                    count += 1
            return count

        with ThreadPoolExecutor(8) as pool:
            return sum(pool.map(ask, range(8))) / seconds

    with running_server(bundle, log=tmp_path / "log", DIFFCDR_STATE_URL=own_redis.url) as server:
        healthy = rate(server.address, 3.0)
        with own_redis.paused():
            rate(server.address, 1.0)
            hung = rate(server.address, 3.0)
        print(f"{healthy:.0f} requests/s, {hung:.0f} while Redis hangs")
        assert hung > 0.3 * healthy


def test_the_state_s_health_is_true_though_nobody_asks(bundle: Path, own_redis: OwnRedis, tmp_path: Path) -> None:
    own_redis.start(*DURABLE)
    with running_server(bundle, log=tmp_path / "log", DIFFCDR_STATE_URL=own_redis.url) as server:
        for _ in range(2):
            with own_redis.killed():
                until(lambda: state_of(server.address) == ("degraded", 0.0), while_raising=NOT_YET)
            until(lambda: state_of(server.address) == ("ok", 1.0), while_raising=NOT_YET)
        with web.client(base_url=server.address) as client:
            assert metric(client, "diffcdr_background_failures_total") == 0
