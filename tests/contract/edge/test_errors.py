"""Every documented error, reached over a real connection, follows RFC 9457."""

from __future__ import annotations

import json
import threading
from functools import partial
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from service.edge.problems import ProblemBody
from tests.serving import gated_model, metric, serving
from tests.waiting import until
from tests.wire import connect, head, held, problem

ADDRESS = "/v1/recommendations"
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "text", [b"", b"{", b"{'user_id': 'u'}", b'{"user_id": "\xff"}', b'{"user_id": "u"} x', b"[" * 100_000, b"\x00"]
)
def test_malformed_json_is_400(client: httpx.Client, text: bytes) -> None:
    problem(client.post(ADDRESS, content=text, headers=JSON), 400, "malformed_json")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"user_id": "u", "k": 0}, "/k"),
        ({"user_id": "u", "k": 501}, "/k"),
        ({"user_id": "u", "offset": -1}, "/offset"),
        ({"user_id": "u", "offset": 500}, "/offset"),
        ({"user_id": "u", "k": "20"}, "/k"),
        ({"user_id": "u", "k": 2.5}, "/k"),
        ({"user_id": "u", "k": 1e300}, "/k"),
        ({"user_id": "u", "k": True}, "/k"),
        ({"user_id": "u", "k": None}, "/k"),
        ({"user_id": True}, "/user_id"),
        ({"user_id": ""}, "/user_id"),
        ({"user_id": "u" * 257}, "/user_id"),
        ({"user_id": "u", "exclude_seen": "yes"}, "/exclude_seen"),
        ({"user_id": "u", "exclude_items": "t1"}, "/exclude_items"),
        ({"user_id": "u", "exclude_items": ["t"] * 1001}, "/exclude_items"),
        ({"user_id": "u", "exclude_items": [True]}, "/exclude_items/0"),
        ({"user_id": "u", "fallback": "maybe"}, "/fallback"),
        ({"user_id": "u", "diversity": 1.5}, "/diversity"),
        ({"user_id": "u", "diversity": "0.5"}, "/diversity"),
        ({"user_id": "u", "timeout_ms": 0}, "/timeout_ms"),
        ({"user_id": "u", "unknown": 1}, "/unknown"),
        ({"history": [{"item_id": "s", "rating": "5"}]}, "/history/0/rating"),
        ({"history": [{"item_id": "s"}]}, "/history/0/rating"),
        ({"history": []}, ""),
        ({}, ""),
        ([], ""),
        ("u", ""),
        (None, ""),
    ],
)
def test_a_body_that_does_not_follow_the_schema_is_422(client: httpx.Client, body: Any, pointer: str) -> None:
    found = problem(client.post(ADDRESS, content=json.dumps(body), headers=JSON), 422, "invalid_request")
    assert [error.pointer for error in found.errors] == [pointer]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_rating_is_a_finite_number(client: httpx.Client, number: str) -> None:
    text = f'{{"history": [{{"item_id": "s00001", "rating": {number}}}]}}'
    response = client.post(ADDRESS, content=text, headers=JSON)
    assert response.status_code in (400, 422), response.text


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("k=0", "/query/k"),
        ("k=501", "/query/k"),
        ("k=x", "/query/k"),
        ("offset=500", "/query/offset"),
        ("kk=1", "/query/kk"),
        ("fallback=", "/query/fallback"),
    ],
)
def test_a_query_string_is_checked_like_a_body(client: httpx.Client, query: str, pointer: str) -> None:
    found = problem(client.get(f"/v1/users/u/recommendations?{query}"), 422, "invalid_request")
    assert [error.pointer for error in found.errors] == [pointer]


@pytest.mark.parametrize("address", [ADDRESS, "/v1/embeddings", "/v1/recommendations/batch"])
def test_another_media_type_is_415(client: httpx.Client, address: str) -> None:
    for headers in ({"Content-Type": "text/plain"}, {**JSON, "Content-Encoding": "gzip"}):
        problem(client.post(address, content=b"{}", headers=headers), 415, "unsupported_media_type")


def test_ten_megabytes_are_413_with_or_without_a_length(client: httpx.Client) -> None:
    body = b'{"user_id": "' + b"u" * 10_000_000 + b'"}'

    def pieces() -> Any:
        yield from (body[at : at + 65_536] for at in range(0, len(body), 65_536))

    problem(client.post(ADDRESS, content=body, headers=JSON), 413, "body_too_large")
    problem(client.post(ADDRESS, content=pieces(), headers=JSON), 413, "body_too_large")


def test_unknown_addresses_methods_and_models(client: httpx.Client) -> None:
    problem(client.get("/v2/anything"), 404, "not_found")
    refused = client.delete(ADDRESS)
    problem(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == "POST"
    problem(client.post("/docs"), 405, "method_not_allowed")
    problem(client.post("/static-offline-docs/favicon.png"), 405, "method_not_allowed")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", ADDRESS, {"user_id": "u", "model": "other"}),
        ("GET", "/v1/users/u/recommendations?model=other", None),
        ("POST", "/v1/embeddings", {"user_ids": ["u"], "model": "other"}),
        ("GET", "/v1/models/other", None),
        ("GET", "/v1/users?model=other", None),
        ("GET", "/v1/users/u00001/history?model=other", None),
        ("GET", "/v1/items?model=other", None),
        ("GET", "/v1/map?model=other", None),
        ("POST", "/v1/admin/models/activate", {"model": "other"}),
        ("PUT", "/v1/admin/traffic", {"canary": "other", "percent": 5}),
        ("PUT", "/v1/admin/traffic", {"canary": None, "percent": 0, "shadow": {"model": "other", "percent": 5}}),
    ],
)
def test_a_bundle_that_is_not_loaded_is_the_same_404_wherever_it_is_named(
    client: httpx.Client, method: str, path: str, body: dict[str, Any] | None
) -> None:
    before = client.get("/v1/models").json()
    found = problem(client.request(method, path, json=body), 404, "model_unknown")
    assert found.detail == "model other is not loaded; /v1/models lists those that are"
    assert client.get("/v1/models").json() == before


def test_no_fallback_wanted_and_nothing_personal_possible_is_404(client: httpx.Client) -> None:
    for body in ({"user_id": "nobody"}, {"history": [{"item_id": "nothing", "rating": 5}]}):
        problem(client.post(ADDRESS, json={**body, "fallback": "deny"}), 404, "user_unknown")
    problem(client.get("/v1/users/nobody/recommendations?fallback=deny"), 404, "user_unknown")
    assert client.post(ADDRESS, json={"user_id": "u02500", "fallback": "deny"}).status_code == 200


def test_a_failure_of_ours_is_500_and_tells_nothing(bundle_path: Path) -> None:
    model, _ = gated_model(bundle_path)
    with serving(bundle_path, model=model) as client:
        response = client.post(ADDRESS, json={"user_id": "poison"})
        assert "poisoned" not in problem(response, 500, "internal_error").model_dump_json()
        assert client.post(ADDRESS, json={"user_id": "u02500"}).status_code == 200


def test_a_deadline_is_504(bundle_path: Path) -> None:
    model, gate = gated_model(bundle_path)
    with serving(bundle_path, model=model) as client, gate.held():
        problem(client.post(ADDRESS, json={"user_id": "u1", "timeout_ms": 50}), 504, "deadline_exceeded")


def test_a_full_queue_is_503_with_retry_after_and_passes(bundle_path: Path) -> None:
    model, gate = gated_model(bundle_path)
    with serving(bundle_path, model=model, queue_rows=2, timeout_ms=60_000) as client:
        responses: list[httpx.Response] = []
        taken = partial(metric, client, "diffcdr_admitted_rows_total")
        shed = partial(metric, client, "diffcdr_shed_rows_total")
        before = taken()
        threads = [
            threading.Thread(target=lambda: responses.append(client.post(ADDRESS, json={"user_id": "u1"})))
            for _ in range(12)
        ]
        with gate.held():
            for thread in threads:
                thread.start()
            until(lambda: taken() - before + shed() == len(threads))
        for thread in threads:
            thread.join()
        refused = [response for response in responses if response.status_code != 200]
        assert 0 < len(refused) < 12
        for response in refused:
            problem(response, 503, "overloaded")
            assert int(response.headers["retry-after"]) >= 1
        assert shed() == len(refused)
        assert client.post(ADDRESS, json={"user_id": "u1"}).status_code == 200


@pytest.mark.parametrize("text", [b"nonsense\r\n\r\n", b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_what_is_not_http_is_400(client: httpx.Client, text: bytes) -> None:
    with connect(client) as connection:
        connection.sendall(text)
        received = bytearray()
        while part := connection.recv(65_536):
            received += part
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    assert ProblemBody.model_validate_json(body).code == "bad_request"


def test_a_truncated_body_is_never_computed(bundle_path: Path) -> None:
    model, gate = gated_model(bundle_path)
    with serving(bundle_path, model=model) as client:
        gate.calls.clear()
        with held(client, ADDRESS, length=100) as connection:
            connection.sendall(b'{"user_id": "u1"}')
        until(lambda: metric(client, "diffcdr_requests_total", status="499"))
        assert gate.users == []


def test_a_client_that_leaves_is_not_computed_for(bundle_path: Path) -> None:
    model, gate = gated_model(bundle_path)
    with serving(bundle_path, model=model, timeout_ms=60_000) as client:
        gate.calls.clear()
        taken = partial(metric, client, "diffcdr_admitted_rows_total")
        before = taken()
        body = b'{"user_id": "%s"}'
        connections = []
        with gate.held():
            for number, user in enumerate((b"computing", b"leaves", b"stays"), start=1):
                connections.append(connect(client))
                text = body % user
                connections[-1].sendall(head(ADDRESS, length=len(text)) + text)
                # The first must be computing before the others come, or all three share its batch.
                until(lambda number=number: gate.users and taken() - before == number)
            connections[1].close()
            until(lambda: metric(client, "diffcdr_requests_total", status="499"))
        assert connections[2].recv(15) == b"HTTP/1.1 200 OK"
        assert gate.users == ["computing", "stays"]
        assert metric(client, "diffcdr_dropped_rows_total", why="cancelled") == 1
        connections[0].close()
        connections[2].close()
