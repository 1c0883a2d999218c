"""What becomes of a connection whose request was one too many, or that has too many of them under way."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

import httpx2 as httpx

from bench.serving.load import request
from service.process.protocol import PIPELINED
from tests.contract.edge.test_overload import ADDRESS, BODY, full
from tests.serving import gated_model, metric, serving
from tests.waiting import LIMIT_SECONDS, until
from tests.wire import answer, problem

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ASKED = request("POST", ADDRESS, BODY)
POPULAR = request("GET", "/v1/items/popular")


def connected(client: httpx.Client) -> closing[socket.socket]:
    return closing(socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=LIMIT_SECONDS))


def begun(*headers: str) -> bytes:
    """The head of a request whose body is to follow."""
    head = ASKED[: -len(BODY) - 2]
    return head + "".join(f"{header}\r\n" for header in headers).encode() + b"\r\n"


def statuses(connection: socket.socket, count: int) -> list[int]:
    """Those of the next ``count`` answers in a row, all read; JSON bodies hold no status line."""
    received = b""
    while received.count(b"HTTP/1.1 ") < count or not received.endswith(b"}"):
        part = connection.recv(65536)
        assert part, received
        received += part
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


def test_who_was_refused_may_go_on_with_the_connection(bundle_path: Path) -> None:
    """The caller's ids are sent back with a refusal too, it is counted under its route, and its body is passed over."""
    with full(bundle_path) as (client, in_work), connected(client) as connection:
        connection.sendall(begun("X-Request-ID: mine", f"traceparent: {TRACE}"))
        refused = answer(connection, path=ADDRESS)
        assert problem(refused, 503, "overloaded").request_id == "mine"
        told = {"x-request-id": "mine", "traceparent": TRACE, "x-content-type-options": "nosniff"}
        assert told.items() <= dict(refused.headers).items()
        assert "date" in refused.headers
        labels = {"route": ADDRESS, "method": "POST", "status": "503"}
        assert metric(client, "diffcdr_requests_total", **labels) == 1
        for each in in_work:
            each.finish()
            assert answer(each).status_code == 200
        connection.sendall(BODY + ASKED)
        assert answer(connection).content.startswith(b'{"items":')


def test_who_waits_for_leave_to_send_a_body_is_refused_for_good(bundle_path: Path) -> None:
    """Whether the body comes all the same cannot be known, so nothing else may follow on the connection."""
    with full(bundle_path) as (client, _), connected(client) as connection:
        connection.sendall(begun("Expect: 100-continue"))
        refused = answer(connection)
        assert (refused.status_code, refused.headers["connection"]) == (503, "close")
        assert connection.recv(1) == b""


def test_what_waits_for_the_answer_before_its_own_needs_a_place_when_it_is_its_turn(bundle_path: Path) -> None:
    with full(bundle_path) as (client, in_work), connected(client) as connection:
        connection.sendall(request("GET", "/readyz") + POPULAR)
        assert statuses(connection, 2) == [200, 503]
        in_work[0].finish(POPULAR)
        assert statuses(in_work[0], 2) == [200, 200]


def test_an_address_in_other_words_finds_no_way_in(bundle_path: Path) -> None:
    """Refused later, and refused all the same; nobody's place is lost by it."""
    with full(bundle_path) as (client, in_work), connected(client) as connection:
        for address in ("/%761/items/popular", f"http://localhost{ADDRESS}"):
            connection.sendall(request("GET", address))
            assert answer(connection).status_code == 503, address
        in_work[0].finish()
        assert answer(in_work[0]).status_code == 200
        assert client.get("/v1/items/popular").status_code == 200


def test_a_connection_holds_few_requests_that_wait(bundle_path: Path) -> None:
    model, gate = gated_model(bundle_path)
    with serving(bundle_path, model=model) as client:
        with connected(client) as patient:
            patient.sendall(ASKED * PIPELINED)
            assert statuses(patient, PIPELINED) == [200] * PIPELINED
        with gate.held(), connected(client) as greedy:
            greedy.sendall(ASKED * (PIPELINED + 2))
            refused = answer(greedy)
            assert (refused.status_code, refused.json()["code"]) == (400, "bad_request")
            assert refused.json()["request_id"] == refused.headers["x-request-id"]
            assert greedy.recv(1) == b""
        until(lambda: metric(client, "diffcdr_requests_total", route=ADDRESS, status="499") >= 1)
        assert metric(client, "diffcdr_requests_total", status="500") == 0


def test_a_place_is_given_back_by_whoever_leaves(bundle_path: Path) -> None:
    with full(bundle_path) as (client, in_work):
        for connection in in_work:
            connection.close()
        until(lambda: client.get("/v1/items/popular").status_code == 200)
