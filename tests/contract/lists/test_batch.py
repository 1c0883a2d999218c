from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from service.schemas import BatchLine
from tests.serving import gated_model, metric, serving
from tests.waiting import until
from tests.web import lines_without_ids
from tests.wire import connect, head

ADDRESS = "/v1/recommendations/batch"
NDJSON = {"Content-Type": "application/x-ndjson"}


def lines(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    for line in response.text.splitlines():
        BatchLine.model_validate_json(line)
    return [json.loads(line) for line in response.text.splitlines()]


def ndjson(users: list[str], **options: Any) -> str:
    return "".join(json.dumps({"user_id": user, **options}) + "\n" for user in users)


@pytest.mark.parametrize("form", ["ndjson", "list"])
def test_thousands_of_users_are_answered_in_their_order(client: httpx.Client, form: str) -> None:
    users = [f"u{(row * 7919) % 3500:05d}" for row in range(4000)]
    if form == "ndjson":
        response = client.post(ADDRESS, content=ndjson(users, k=3), headers=NDJSON)
    else:
        response = client.post(ADDRESS, json=[{"user_id": user, "k": 3} for user in users])
    answer = lines(response)
    assert [line["index"] for line in answer] == list(range(4000))
    assert [line["user_id"] for line in answer] == users
    assert all(len(line["items"]) == 3 for line in answer)
    # The planted bundle knows the first 3,000.
    assert all((line["strategy"] == "popular") == (line["user_id"] >= "u03000") for line in answer)


def test_a_bad_entry_gets_an_error_line_and_spoils_nothing_else(client: httpx.Client) -> None:
    text = "\n".join(
        [
            '{"user_id": "u02500"}',
            "",
            "not json",
            '{"user_id": "u02500", "k": 0}',
            '{"user_id": "nobody", "fallback": "deny"}',
            '{"user_id": "u02500", "model": "other"}',
            '{"user_id": "' + "x" * 70_000 + '"}',
            '{"user_id": "u02501"}',
        ]
    )
    answer = lines(client.post(ADDRESS, content=text, headers=NDJSON))
    assert [line["index"] for line in answer] == list(range(7))
    assert [line["error"]["code"] if "error" in line else None for line in answer] == [
        None,
        "malformed_json",
        "invalid_request",
        "user_unknown",
        "model_unknown",
        "body_too_large",
        None,
    ]
    assert answer[2]["error"]["errors"][0]["pointer"] == "/k"


def test_entries_take_every_option_of_a_single_request_but_a_timeout(client: httpx.Client) -> None:
    entry = {"user_id": "u00003", "k": 4, "exclude_seen": False, "exclude_items": ["t00001"], "fallback": "deny"}
    folded = {"history": [{"item_id": "s00003", "rating": 5}], "k": 2, "diversity": 0.5}
    first, second, third = lines(client.post(ADDRESS, json=[entry, folded, {**entry, "timeout_ms": 5}]))
    assert first["items"] == client.post("/v1/recommendations", json=entry).json()["items"]
    assert second["items"] == client.post("/v1/recommendations", json=folded).json()["items"]
    assert third["error"]["errors"][0]["pointer"] == "/timeout_ms"


def test_nobody_is_answered_with_nothing(client: httpx.Client) -> None:
    assert lines(client.post(ADDRESS, json=[])) == []
    assert lines(client.post(ADDRESS, content=b"", headers=NDJSON)) == []


@pytest.mark.parametrize(
    ("text", "status"), [(b"", 400), (b'[{"user_id": "u1"}', 400), (b'{"user_id": "u1"}', 422), (b"[1,,2]", 400)]
)
def test_a_broken_list_is_refused_as_a_whole(client: httpx.Client, text: bytes, status: int) -> None:
    response = client.post(ADDRESS, content=text, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")


def test_a_list_that_breaks_late_ends_with_an_error_line(client: httpx.Client) -> None:
    text = json.dumps([{"user_id": "u02500", "k": 1}] * 1000)[:-1]
    answer = lines(client.post(ADDRESS, content=text, headers={"Content-Type": "application/json"}))
    assert answer[-1]["error"]["code"] == "malformed_json"
    # The element before the end never closed.
    assert len(answer) == 1000
    assert all("items" in line for line in answer[:-1])


def test_the_answer_is_compressed_if_asked(client: httpx.Client) -> None:
    body = ndjson([f"u{row:05d}" for row in range(600)])
    plain = client.post(ADDRESS, content=body, headers={**NDJSON, "Accept-Encoding": "gzip;q=0"})
    assert "content-encoding" not in plain.headers
    with client.stream("POST", ADDRESS, content=body, headers={**NDJSON, "Accept-Encoding": "br, gzip"}) as response:
        assert response.headers["content-encoding"] == "gzip"
        packed = b"".join(response.iter_raw())
    assert lines_without_ids(gzip.decompress(packed)) == lines_without_ids(plain.content)
    assert len(packed) < len(plain.content) / 3


def test_a_body_beyond_the_limit_is_413(bundle_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield from [b'{"user_id": "u1"}\n' * 100] * 10

    with serving(bundle_path, max_stream_bytes=5000) as client:
        for content in (b"".join(pieces()), pieces()):
            response = client.post(ADDRESS, content=content, headers=NDJSON)
            assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


def test_a_client_that_sends_everything_before_it_reads_is_served(bundle_path: Path) -> None:
    body = ndjson([f"u{row:05d}" for row in range(3000)] * 2, k=50).encode()
    with serving(bundle_path) as client, connect(client, timeout=60) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.sendall(head(ADDRESS, length=len(body), media_type=NDJSON["Content-Type"]) + body)
        received = bytearray()
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += connection.recv(1 << 20)
        assert received.count(b'"index":') == 6000


def test_a_client_that_leaves_stops_the_work(bundle_path: Path) -> None:
    model, gate = gated_model(bundle_path)
    with serving(bundle_path, model=model, batch_rows=32) as client:
        gate.calls.clear()
        body = ndjson([f"u{row:05d}" for row in range(3000)])
        with gate.held(after=3):
            with client.stream("POST", ADDRESS, content=body, headers=NDJSON) as response:
                next(response.iter_lines())
            until(lambda: metric(client, "diffcdr_requests_total", route=ADDRESS))
            computed = len(gate.users)
        for _ in range(20):
            assert client.post("/v1/recommendations", json={"user_id": "somebody else"}).status_code == 200
        assert computed <= 4 * 32
        assert len(gate.users) == computed + 20, "what waited for its turn was not computed"


def test_single_requests_pass_while_a_batch_runs(bundle_path: Path) -> None:
    model, gate = gated_model(bundle_path)
    with serving(bundle_path, model=model, batch_rows=16, queue_rows=64) as client:
        gate.delay = 0.01
        body = ndjson([f"u{row:05d}" for row in range(1600)], k=1)
        with client.stream("POST", ADDRESS, content=body, headers=NDJSON) as response:
            received = response.iter_lines()
            next(received)
            for _ in range(10):
                assert client.post("/v1/recommendations", json={"user_id": "u1"}).status_code == 200
            assert 1 + sum(1 for _ in received) == 1600


def test_a_batch_is_refused_like_anyone_when_there_is_no_room(bundle_path: Path) -> None:
    model, gate = gated_model(bundle_path)
    with serving(bundle_path, model=model, queue_rows=8, batch_rows=8) as client:
        admitted = partial(metric, client, "diffcdr_admitted_rows_total")
        waiting_before = admitted() - len(gate.users)
        with (
            gate.held(after=1) as release,
            client.stream("POST", ADDRESS, content=ndjson(["u1"] * 64), headers=NDJSON) as busy,
        ):
            until(lambda: admitted() - len(gate.users) == waiting_before + 8)
            refused = client.post(ADDRESS, content=ndjson(["u2"] * 8), headers=NDJSON)
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) >= 1
            release()
            assert sum(1 for _ in busy.iter_lines()) == 64
