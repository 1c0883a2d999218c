"""deploy/nginx in a real nginx, before two real replicas: what it passes, what it repeats, what it refuses."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffcdr.client import Client, Retries
from service.edge.problems import ProblemBody
from tests import web
from tests.bundles import write_bundle
from tests.servers import Server, proxy, running_server
from tests.waiting import LIMIT_SECONDS, until

MANY = 200


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "current"
    write_bundle(path, users=500)
    return path


@pytest.fixture(scope="module")
def replicas(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    folder = tmp_path_factory.mktemp("replicas")
    state = f"sqlite:{folder / 'state.sqlite'}"
    with (
        running_server(bundle, log=folder / "one", DIFFCDR_STATE_URL=state) as one,
        running_server(bundle, log=folder / "two", DIFFCDR_STATE_URL=state) as two,
    ):
        yield one, two


def test_everything_passes_as_the_service_means_it(
    replicas: tuple[Server, Server], tmp_path: Path, free_port: int
) -> None:
    with (
        proxy(tmp_path, free_port, [server.address for server in replicas]) as address,
        Client(address, retries=Retries(attempts=1)) as client,
    ):
        client.opt_out("a/b")
        assert client.recommend_user("a/b").fallback_reason == "opted_out"
        assert client.recommend("u00042").items == next(client.recommend_batch(["u00042"])).items
        assert web.get(f"{address}/metrics").status_code == 404
        asked = web.get(f"{address}/v1/items/popular", headers={"x-request-id": "mine"})
        assert asked.headers["x-request-id"] == "mine"


def test_a_batch_is_not_held_back(replicas: tuple[Server, Server], tmp_path: Path, free_port: int) -> None:
    """The first lines are there while the request is still being sent."""
    with (
        proxy(tmp_path, free_port, [replicas[0].address]),
        socket.create_connection(("127.0.0.1", free_port), timeout=LIMIT_SECONDS) as connection,
    ):
        head = "POST /v1/recommendations/batch HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\n"
        connection.sendall(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
        body = b"".join(json.dumps({"user_id": "u00042", "k": 1}).encode() + b"\n" for _ in range(2000))
        connection.sendall(f"{len(body):x}\r\n".encode() + body + b"\r\n")
        received = b""
        while b'"index":0' not in received:
            part = connection.recv(65536)
            assert part
            received += part
        connection.sendall(b"0\r\n\r\n")
        while b'"index":1999' not in received:
            received += connection.recv(65536)


def test_a_caller_that_asks_too_often_is_told_when_to_come_back(
    replicas: tuple[Server, Server], tmp_path: Path, free_port: int
) -> None:
    with (
        proxy(tmp_path, free_port, [replicas[0].address], rate="1r/s") as address,
        web.client(base_url=address) as client,
    ):
        answers = [client.get("/v1/items/popular") for _ in range(8)]
        assert [answer.status_code for answer in answers].count(429) == 2
        assert ProblemBody.model_validate_json(answers[-1].content).code == "rate_limited"
        assert answers[-1].headers["retry-after"] == "1"
        assert client.get("/livez").status_code == 200
        told = ProblemBody.model_validate_json(answers[-1].content).request_id
        assert told == answers[-1].headers["x-request-id"]
        # A key that was made up opens nothing, another share of requests neither.
        made_up = [client.get("/v1/items/popular", headers={"x-api-key": str(n)}).status_code for n in range(8)]
        assert made_up.count(429) >= 7


def test_a_page_of_the_console_may_ask_through_the_proxy_by_the_port_that_it_is_on(
    replicas: tuple[Server, Server], tmp_path: Path, free_port: int
) -> None:
    with proxy(tmp_path, free_port, [replicas[0].address]) as address:
        asked = web.post(f"{address}/v1/recommendations", json={"user_id": "u00042"}, headers={"origin": address})
        assert asked.status_code == 200
        elsewhere = web.post(
            f"{address}/v1/recommendations", json={"user_id": "u00042"}, headers={"origin": "http://127.0.0.1:1"}
        )
        assert elsewhere.status_code == 403


def test_what_the_proxy_refuses_itself_is_a_problem_too(
    replicas: tuple[Server, Server], tmp_path: Path, free_port: int
) -> None:
    with proxy(tmp_path, free_port, [replicas[0].address]) as address:
        for refused, code in (
            (web.get(f"{address}/livez", headers={"x-filler": "x" * 40_000}), "bad_request"),
            (web.post(f"{address}/v1/events", content=b"0" * (17 << 20)), "body_too_large"),
            (web.get(f"{address}/metrics"), "not_found"),
        ):
            assert ProblemBody.model_validate_json(refused.content).code == code
            assert refused.headers["content-type"] == "application/problem+json"


def test_a_killed_replica_costs_callers_nothing_they_can_repeat(
    replicas: tuple[Server, Server], tmp_path: Path, free_port: int
) -> None:
    """Reads are asked elsewhere; nobody sees a replica die under load. Comes last: none is left after it."""
    outcomes: list[int] = []
    stop = threading.Event()

    def ask(address: str) -> None:
        with web.client(base_url=address) as client:
            while not stop.is_set():
                outcomes.append(client.post("/v1/recommendations", json={"user_id": "u00042"}).status_code)

    with proxy(tmp_path, free_port, [server.address for server in replicas]) as address:
        threads = [threading.Thread(target=ask, args=(address,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            until(lambda: len(outcomes) > MANY)
            replicas[0].process.kill()
            before = len(outcomes)
            until(lambda: len(outcomes) > before + MANY)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert set(outcomes) == {200}

        replicas[1].process.kill()
        replicas[1].process.wait()
        away = web.get(f"{address}/v1/items/popular")
        assert (away.status_code, away.headers["retry-after"]) == (503, "1")
        assert ProblemBody.model_validate_json(away.content).code == "overloaded"
