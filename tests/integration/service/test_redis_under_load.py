"""A service in its own process, asked all the time, while the Redis behind it dies, hangs, fills up and comes back."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx2 as httpx
import pytest

from service.commands import push
from tests import web
from tests.bundles import write_bundle
from tests.redis_server import OwnRedis
from tests.servers import running_server
from tests.serving import metric
from tests.waiting import elapse, until

ONE = "/v1/recommendations"
USERS, WARM_USERS = 3000, 10
DEADLINE_MS = 10_000
MANY = 100
DURABLE = ("--appendonly", "yes")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "planted"
    write_bundle(path, users=USERS, items=200)
    return path


@dataclass
class Asking:
    """What four callers got who never stopped asking, each time for another user."""

    answers: list[tuple[float, int, str, str | None]] = field(default_factory=list)
    """When it came, its status, strategy and reason."""
    slowest: float = 0.0

    def since(self, moment: float) -> Counter[tuple[int, str, str | None]]:
        """What came after ``moment`` (``time.monotonic``)."""
        return Counter(answer[1:] for answer in self.answers if answer[0] > moment)

    def until(self, wanted: str) -> float:
        """Wait for the next answer by strategy ``wanted``; seconds that took."""
        began = time.monotonic()
        until(lambda: any(strategy == wanted for _, strategy, _ in self.since(began)), why=lambda: self.since(began))
        return time.monotonic() - began

    def many_since(self, moment: float) -> Counter[tuple[int, str, str | None]]:
        """Wait for ``MANY`` answers after ``moment``."""
        return until(lambda: found if (found := self.since(moment)).total() >= MANY else None)


@contextmanager
def asked(address: str) -> Iterator[Asking]:
    """Four callers at work meanwhile."""
    asking = Asking()
    numbers = count()
    done = threading.Event()

    def ask() -> None:
        with web.client(base_url=address) as client:
            while not done.is_set():
                began = time.monotonic()
                # Vectors at hand would hide that Redis is away: nobody is asked for twice.
                user = f"u{WARM_USERS + next(numbers) % (USERS - WARM_USERS):05d}"
                response = client.post(ONE, json={"user_id": user, "k": 3, "timeout_ms": DEADLINE_MS})
                now, body = time.monotonic(), response.json()
                asking.slowest = max(asking.slowest, now - began)
                asking.answers.append(
                    (now, response.status_code, body.get("strategy", ""), body.get("fallback_reason"))
                )
                elapse(0.005)

    callers = [threading.Thread(target=ask) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        yield asking
    finally:
        done.set()
        for caller in callers:
            caller.join()


@pytest.mark.parametrize("how", ["killed", "paused"])
def test_vectors_that_go_away_under_load_cost_no_request_and_come_back(
    bundle: Path, own_redis: OwnRedis, tmp_path: Path, how: str
) -> None:
    own_redis.start(*DURABLE)
    push(bundle, own_redis.url)
    settings = {"DIFFCDR_VECTORS": "redis", "DIFFCDR_VECTORS_URL": own_redis.url, "DIFFCDR_VECTORS_KEPT": "0"}
    with running_server(bundle, log=tmp_path / "log", **settings) as server, asked(server.address) as asking:
        asking.until("transfer")
        begun = time.monotonic()
        with getattr(own_redis, how)():
            asking.until("popular")
            gone = time.monotonic()
            assert set(asking.many_since(gone)) == {(200, "popular", "vectors_unavailable")}
        asking.until("transfer")
        back = time.monotonic()
        assert set(asking.many_since(back)) == {(200, "transfer", None)}
        assert {status for status, _, _ in asking.since(begun)} == {200}
        assert asking.slowest < DEADLINE_MS / 1000
        assert server.process.poll() is None


def test_a_state_without_room_takes_nothing_and_goes_on_reading(
    bundle: Path, own_redis: OwnRedis, tmp_path: Path
) -> None:
    redis = own_redis.start("--maxmemory-policy", "noeviction")

    def write(address: str, user: str) -> dict[str, httpx.Response]:
        event = {"event_id": "1", "user_id": user, "item_id": "s00001", "rating": 5}
        return {
            "opt-out": web.put(f"{address}/v1/users/{user}/opt-out"),
            "events": web.post(f"{address}/v1/events", json={"events": [event]}),
            "erasure": web.delete(f"{address}/v1/users/{user}-too"),
        }

    def strategy(address: str, user: str) -> str:
        return str(web.post(f"{address}{ONE}", json={"user_id": user}).json()["strategy"])

    with running_server(bundle, log=tmp_path / "log", DIFFCDR_STATE_URL=own_redis.url) as server:
        address = server.address
        assert {each.is_success for each in write(address, "u00100").values()} == {True}
        redis.config_set("maxmemory", 1)
        for what, refused in write(address, "u00200").items():
            assert (what, refused.status_code, refused.json()["code"]) == (what, 503, "state_unavailable")
            assert refused.headers["retry-after"] == "1"
        assert (strategy(address, "u00100"), strategy(address, "u00200")) == ("popular", "transfer")
        with web.client(base_url=address) as client:
            assert metric(client, "diffcdr_state_up") == 1, "it answers, and opt-outs are known"
        redis.config_set("maxmemory", 0)
        assert {each.is_success for each in write(address, "u00200").values()} == {True}
        assert strategy(address, "u00200") == "popular"


def test_what_was_acknowledged_is_there_after_redis_itself_is_killed(
    bundle: Path, own_redis: OwnRedis, tmp_path: Path
) -> None:
    own_redis.start(*DURABLE)
    with running_server(bundle, log=tmp_path / "log", DIFFCDR_STATE_URL=own_redis.url) as server:
        for user in ("u00100", "u00101"):
            assert web.put(f"{server.address}/v1/users/{user}/opt-out").status_code == 204
            with own_redis.killed():
                pass
            assert web.delete(f"{server.address}/v1/users/{user}-too").status_code == 202
            with own_redis.killed():
                pass
    with running_server(bundle, log=tmp_path / "log", DIFFCDR_STATE_URL=own_redis.url) as server:
        for user in ("u00100", "u00100-too", "u00101", "u00101-too"):
            assert web.post(f"{server.address}{ONE}", json={"user_id": user}).json()["fallback_reason"] == "opted_out"
        assert web.post(f"{server.address}{ONE}", json={"user_id": "u00102"}).json()["strategy"] == "transfer"
