"""What waits for the state is bounded, and how the state is can be seen."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest

from service.components import Intake
from tests.redis_server import OwnRedis
from tests.serving import metric, serving
from tests.waiting import LIMIT_SECONDS, until


def events(user: str, count: int) -> dict[str, list[dict[str, object]]]:
    return {
        "events": [
            {"event_id": str(number), "user_id": user, "item_id": "s00001", "rating": 5} for number in range(count)
        ]
    }


def test_more_events_than_may_wait_are_sent_back_and_one_request_always_fits(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = threading.Event()

    class Noting(Intake):
        @contextmanager
        def take(self, events: int) -> Iterator[None]:
            with super().take(events):
                taken.set()
                yield

    monkeypatch.setattr("service.lifespan.Intake", Noting)
    state = tmp_path / "state.sqlite"
    with serving(bundle_path, state_url=f"sqlite:{state}", event_queue=5) as client:
        held = sqlite3.connect(state, isolation_level=None)
        held.execute("BEGIN IMMEDIATE")
        answers: list[httpx.Response] = []
        first = threading.Thread(target=lambda: answers.append(client.post("/v1/events", json=events("a", 9))))
        first.start()
        assert taken.wait(LIMIT_SECONDS)
        refused = client.post("/v1/events", json=events("b", 1))
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        held.execute("ROLLBACK")
        held.close()
        first.join()
        assert (answers[0].status_code, answers[0].json()["accepted"]) == (200, 9)
        assert client.post("/v1/events", json=events("b", 1)).json()["accepted"] == 1


def test_the_health_of_the_state_is_a_metric_even_if_nobody_asks(bundle_path: Path, own_redis: OwnRedis) -> None:
    def seen(up: float) -> None:
        until(lambda: metric(client, "diffcdr_state_up") == up)

    own_redis.start()
    with serving(bundle_path, state_url=own_redis.url) as client:
        seen(1)
        began = time.time()
        until(lambda: metric(client, "diffcdr_state_checked_timestamp_seconds") > began)
        with own_redis.paused():
            seen(0)
            stopped = metric(client, "diffcdr_state_checked_timestamp_seconds")
        seen(1)
        assert metric(client, "diffcdr_state_checked_timestamp_seconds") > stopped


def test_a_write_under_a_key_is_done_once_and_answered_alike(bundle_path: Path, tmp_path: Path) -> None:
    key = {"Idempotency-Key": "8e03978e"}
    with serving(bundle_path, state_url=f"sqlite:{tmp_path / 'state.sqlite'}") as client:
        first = client.post("/v1/events", json=events("a", 3), headers=key)
        again = client.post("/v1/events", json=events("a", 3), headers=key)
        assert (first.status_code, first.json()["accepted"]) == (200, 3)
        assert "idempotency-replayed" not in first.headers
        assert (again.status_code, again.content, again.headers["idempotency-replayed"]) == (200, first.content, "true")
        assert client.post("/v1/events", json=events("a", 3)).json()["duplicates"] == 3
        other = client.post("/v1/events", json=events("a", 4), headers=key)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        erased = [client.delete("/v1/users/a", headers=key) for _ in range(2)]
        assert [one.status_code for one in erased] == [202, 202]
        assert erased[0].content == erased[1].content
        assert client.post("/v1/events", json=events("a", 3), headers=key).content == first.content
        bad = client.post("/v1/events", json=events("a", 3), headers={"Idempotency-Key": "with space"})
        assert (bad.status_code, bad.json()["code"]) == (422, "invalid_request")
