"""Clients that leave, dawdle or break off, at a service in its own process: what it does then, by its own count."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2 as httpx
import pytest

from tests import web
from tests.bundles import write_bundle
from tests.servers import Server, running_server
from tests.serving import metric
from tests.waiting import until
from tests.wire import JSON, answer, connect, head, held

ONE, BATCH = "/v1/recommendations", "/v1/recommendations/batch"
NDJSON = "application/x-ndjson"
MANY = 100_000
CHUNK = 64


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("leaving")
    write_bundle(folder / "bundle", users=3000, items=200)
    with running_server(folder / "bundle", log=folder / "log", DIFFCDR_BATCH_ROWS=str(CHUNK)) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with web.client(base_url=server.address) as client:
        yield client


def lines(count: int, *, k: int = 20) -> bytes:
    return b"".join(b'{"user_id": "u%05d", "k": %d}\n' % (number % 3000, k) for number in range(count))


def rows(client: httpx.Client) -> float:
    return metric(client, "diffcdr_engine_rows_total")


def ended(client: httpx.Client) -> float:
    """Batches that are over, however they ended."""
    return metric(client, "diffcdr_requests_total", route=BATCH)


def settled(client: httpx.Client) -> tuple[float, int]:
    """The engine's rows once it has nothing to do but what this asks for, without that; and how much that was."""
    asked = 0

    def others() -> float:
        nonlocal asked
        for _ in range(10):
            client.post(ONE, json={"user_id": "u00100"}).raise_for_status()
            asked += 1
        return rows(client) - asked

    now = until(lambda: now if (now := others()) == others() else None, why=lambda: "the engine goes on and on")
    return now, asked


def memory(server: Server) -> float:
    """Anonymous memory of the process, MB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return next(int(line.split()[1]) / 1e3 for line in status.splitlines() if line.startswith("RssAnon"))


def test_a_batch_whose_client_left_is_computed_no_further(client: httpx.Client) -> None:
    before, over = rows(client), ended(client)
    left = metric(client, "diffcdr_requests_total", route=BATCH, status="200")
    with client.stream("POST", BATCH, content=lines(MANY), headers={"Content-Type": NDJSON}) as response:
        next(response.iter_lines())
    until(lambda: ended(client) > over)
    assert settled(client)[0] - before < MANY / 4
    assert metric(client, "diffcdr_requests_total", route=BATCH, status="200") == left
    assert client.post(ONE, json={"user_id": "u00100"}).status_code == 200


def test_a_client_that_does_not_read_is_not_computed_for_in_advance(client: httpx.Client, server: Server) -> None:
    before, held_before = rows(client), memory(server)
    body = lines(MANY // 10, k=100)
    with connect(client, timeout=60) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.sendall(head(BATCH, length=len(body), media_type=NDJSON) + body)
        made, asked = settled(client)
        assert made - before < MANY / 20, "what nobody takes is not made"
        assert memory(server) - held_before < 20
        assert client.post(ONE, json={"user_id": "u00100"}).status_code == 200
        assert sum(1 for _ in answer(connection).iter_lines()) == MANY // 10
    assert rows(client) - before - asked == MANY // 10 + 1


def test_a_body_that_comes_byte_by_byte_holds_up_nobody_else(client: httpx.Client) -> None:
    body = b'{"user_id": "u00100", "k": 3}'
    with held(client, ONE, length=len(body)) as connection:
        for byte in body:
            connection.sendall(bytes([byte]))
            assert client.post(ONE, json={"user_id": "u00200", "k": 3}).status_code == 200
        slow = answer(connection)
    assert slow.json()["items"] == client.post(ONE, content=body, headers={"Content-Type": JSON}).json()["items"]


@pytest.mark.parametrize("media_type", [NDJSON, JSON])
def test_a_batch_that_breaks_off_is_answered_as_far_as_it_came_and_no_further(
    client: httpx.Client, media_type: str
) -> None:
    before, over = rows(client), ended(client)
    sent = lines(10 * CHUNK) if media_type == NDJSON else b"[" + lines(10 * CHUNK).rstrip().replace(b"\n", b",") + b","
    with connect(client) as connection:
        connection.sendall(head(BATCH, length=2 * len(sent), media_type=media_type) + sent)
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
    until(lambda: ended(client) > over)
    assert settled(client)[0] - before <= 10 * CHUNK


def test_of_events_that_break_off_none_is_kept(client: httpx.Client) -> None:
    event = {"event_id": "1", "user_id": "broken-off", "item_id": "s00001", "rating": 5}
    body = json.dumps({"events": [event]}).encode()
    taken = metric(client, "diffcdr_events_total")
    with held(client, "/v1/events", length=len(body) + 1) as connection:
        connection.sendall(body)
    left = {"route": "/v1/events", "status": "499"}
    until(lambda: metric(client, "diffcdr_requests_total", **left))
    assert metric(client, "diffcdr_events_total") == taken
    assert client.post(ONE, json={"user_id": "broken-off"}).json()["strategy"] == "popular"


def test_one_alone_among_many_and_beside_others_is_the_same_to_the_last_bit(client: httpx.Client) -> None:
    users = ["u00003", "v00001", "nobody", *(f"u{number:05d}" for number in range(20, 3000, 61))]
    entries = [
        *({"user_id": user, "k": 1 + number % 100, "diversity": (number % 3) / 4} for number, user in enumerate(users)),
        *(
            {"user_id": user, "target_history": [{"item_id": f"t{number:05d}", "rating": 1 + number % 5}]}
            for number, user in enumerate(users[:20])
        ),
        *(
            {"history": [{"item_id": f"s{number:05d}", "rating": 4.5}, {"item_id": "s00001", "rating": 1}]}
            for number in range(20)
        ),
    ]
    alone = [client.post(ONE, json=entry).content for entry in entries]

    def single(entry: dict[str, object]) -> bytes:
        return client.post(ONE, json=entry).content

    with ThreadPoolExecutor(6) as pool:
        beside = pool.map(single, entries * 2)
        batches = list(pool.map(lambda each: client.post(BATCH, json=each).text, [entries, entries[::-1]]))
        found = list(beside)
    # Up to what is an answer's own: compared as text, so that not one digit differs.
    assert [_list(text) for text in found] == [_list(text) for text in alone] * 2
    for text, order in zip(batches, (alone, alone[::-1]), strict=True):
        assert [_list(line.encode()) for line in text.splitlines()] == [_list(one) for one in order]


def _list(text: bytes) -> bytes:
    """From the items to the bundle, as they were written."""
    return text[text.index(b'"items":') : text.index(b'"bundle":')]
