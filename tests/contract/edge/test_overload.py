"""More requests than may be in work at a time are refused before they are read, and nobody who looks after it is."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2 as httpx

from tests.serving import gated_model, metric, serving
from tests.waiting import until
from tests.wire import answer, connect, head, held, problem

LIMIT = 2
ADDRESS = "/v1/recommendations"
BODY = b'{"user_id": "u00100"}'


class InWork:
    """A connection whose request is being computed, until it may :meth:`finish`."""

    def __init__(self, connection: socket.socket, let_go: Callable[[], None]) -> None:
        self._connection = connection
        self._let_go = let_go

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def finish(self, then: bytes = b"") -> None:
        """Let the engine go on, after sending ``then``."""
        self._connection.sendall(then)
        self._let_go()


@contextmanager
def full(bundle_path: Path) -> Iterator[tuple[httpx.Client, list[InWork]]]:
    """A service with as many requests in work as there may be: its engine waits."""
    model, gate = gated_model(bundle_path)
    with (
        serving(bundle_path, model=model, max_in_flight=LIMIT, timeout_ms=60_000) as client,
        ExitStack() as held_open,
        gate.held() as let_go,
    ):
        connections = []
        for _ in range(LIMIT):
            connection = held_open.enter_context(connect(client))
            connection.sendall(head(ADDRESS, length=len(BODY)) + BODY)
            connections.append(InWork(connection, let_go))
        until(lambda: client.get("/v1/items/popular").status_code == 503)
        yield client, connections


def test_one_too_many_is_refused_before_its_body_arrives(bundle_path: Path) -> None:
    with full(bundle_path) as (client, _):
        shed = metric(client, "diffcdr_shed_rows_total")
        with held(client, ADDRESS) as connection:
            refused = answer(connection, path=ADDRESS)
        problem(refused, 503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        assert metric(client, "diffcdr_shed_rows_total") == shed + 1


def test_probes_metrics_documents_and_administration_are_answered_all_the_same(bundle_path: Path) -> None:
    with full(bundle_path) as (client, _):
        for address in ("/livez", "/readyz", "/metrics", "/openapi.json"):
            assert client.get(address).status_code == 200, address
        assert client.post("/v1/admin/models/rollback").json()["code"] == "conflict"
        assert client.get("/v1/items/popular").status_code == 503


def test_those_in_work_are_answered_and_then_everybody_is(bundle_path: Path) -> None:
    with full(bundle_path) as (client, connections):
        for connection in connections:
            connection.finish()
            answered = answer(connection)
            assert (answered.status_code, answered.content[:9]) == (200, b'{"items":')
        assert client.get("/v1/items/popular").status_code == 200


def test_a_crowd_gets_its_answer_or_a_time_to_come_again(bundle_path: Path) -> None:
    model, gate = gated_model(bundle_path)
    with (
        serving(bundle_path, model=model, max_in_flight=LIMIT, timeout_ms=60_000) as client,
        ThreadPoolExecutor(24) as pool,
    ):
        taken = partial(metric, client, "diffcdr_admitted_rows_total")
        before = taken()

        def ask(number: int) -> httpx.Response:
            return client.post("/v1/recommendations", json={"user_id": f"u{number:05d}"})

        with gate.held():
            asked = pool.map(ask, range(24))
            until(lambda: taken() - before + metric(client, "diffcdr_shed_rows_total") == 24)
        answers = list(asked)
        refused = [answer for answer in answers if answer.status_code == 503]
        assert {answer.status_code for answer in answers} == {200, 503}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert metric(client, "diffcdr_shed_rows_total") == len(refused)
        assert client.post("/v1/recommendations", json={"user_id": "u00100"}).status_code == 200
