"""Clients that send slowly, endlessly or not at all hold up nobody but themselves."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2 as httpx
import pytest

from tests import web
from tests.servers import Server, running_server
from tests.waiting import LIMIT_SECONDS, elapse
from tests.wire import answer, head

ONE, BATCH = "/v1/recommendations", "/v1/recommendations/batch"
BODY = b'{"user_id":"u00042"}'


@pytest.fixture(scope="module")
def hasty(attacked_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that waits for a second, and for no more than 24 connections."""
    folder = tmp_path_factory.mktemp("hasty")
    settings = {
        "DIFFCDR_HEAD_SECONDS": "1",
        "DIFFCDR_KEEP_ALIVE_SECONDS": "2",
        "DIFFCDR_MAX_CONNECTIONS": "24",
        "DIFFCDR_STATE_URL": f"sqlite:{folder / 'state.sqlite'}",
    }
    with running_server(attacked_bundle, log=folder / "log", **settings) as server:
        yield server


def opened(server: Server) -> socket.socket:
    address = httpx.URL(server.address)
    return socket.create_connection((address.host, address.port or 80), timeout=LIMIT_SECONDS)


def received(connection: socket.socket) -> bytes:
    """All that comes until the service closes."""
    text = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            text += part
    return text


def test_bodies_that_do_not_arrive_take_no_places(attacked: Server) -> None:
    with ExitStack() as open_, web.client(base_url=attacked.address) as client:
        for _ in range(64):
            connection = open_.enter_context(opened(attacked))
            connection.sendall(head(ONE, length=len(BODY)) + BODY[:1])
        statuses = [client.post(ONE, content=BODY).status_code for _ in range(40)]
        assert statuses == [200] * 40
        # And whoever was slow is answered once the body is there.
        connection.sendall(BODY[1:])
        assert answer(connection).status_code == 200


def test_batches_that_do_not_arrive_leave_reads_and_writes_alone(attacked: Server) -> None:
    with ExitStack() as open_, web.client(base_url=attacked.address) as client:
        for _ in range(64):
            connection = open_.enter_context(opened(attacked))
            connection.sendall(head(BATCH, length=1000, media_type="application/x-ndjson") + b"{")
        assert [client.post(ONE, content=BODY).status_code for _ in range(40)] == [200] * 40
        assert client.put("/v1/users/someone/opt-out").status_code == 204


@pytest.mark.attack
def test_a_body_has_to_bring_something(attacked: Server) -> None:
    with opened(attacked) as connection:
        connection.sendall(head(BATCH, length=1000, media_type="application/x-ndjson"))
        began = time.monotonic()
        assert received(connection).startswith(b"HTTP/1.1 408 ")
        assert 9 < time.monotonic() - began < 18


@pytest.mark.parametrize(
    "part", [b"x" * 60_000, b"X-Filler: 1\r\n" * 5000], ids=["one header without end", "headers without end"]
)
def test_a_head_has_an_end(attacked: Server, part: bytes) -> None:
    with opened(attacked) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Filler: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                connection.sendall(part)
        told = received(connection)
        assert told == b"" or told.startswith(b"HTTP/1.1 400 ")


def test_trailers_without_end_have_an_end(attacked: Server) -> None:
    begin = f"POST {ONE} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    with opened(attacked) as connection:
        connection.sendall(begin.encode())
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                connection.sendall(b"X-Filler: 1\r\n" * 100)
        assert received(connection)[:13] in (b"", b"HTTP/1.1 400 ")


def test_a_head_that_does_not_come_and_a_silent_connection_are_ended(hasty: Server) -> None:
    with opened(hasty) as begun, opened(hasty) as silent, opened(hasty) as idle:
        begun.sendall(b"GET /livez HTTP/1.1\r\n")
        idle.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer(idle, method="GET").status_code == 200
        assert received(begun).startswith(b"HTTP/1.1 408 ")
        assert received(silent) == b""
        assert received(idle) == b""


def test_more_silent_connections_than_there_may_be_make_room(hasty: Server) -> None:
    with ExitStack() as open_:
        for _ in range(60):
            open_.enter_context(opened(hasty))
        for _ in range(10):
            assert web.get(f"{hasty.address}/livez").status_code == 200


def test_a_connection_that_is_used_is_kept(hasty: Server) -> None:
    """Longer than a connection may be idle, a request every half second; what was refused meanwhile leaves no timer."""
    with opened(hasty) as connection:
        for _ in range(9):
            connection.sendall(head(ONE, length=len(BODY)) + BODY)
            assert answer(connection).status_code == 200
            elapse(0.5)


def test_a_client_that_has_closed_its_half_is_answered(attacked: Server) -> None:
    with opened(attacked) as connection:
        connection.sendall(head(ONE, length=len(BODY)) + BODY)
        connection.shutdown(socket.SHUT_WR)
        assert b'{"items":' in received(connection)


@pytest.mark.parametrize("hosts", [b"", b"Host: localhost\r\nHost: other\r\n"], ids=["none", "two"])
def test_a_request_has_one_host(attacked: Server, hosts: bytes) -> None:
    with opened(attacked) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\n" + hosts + b"\r\n")
        assert received(connection).startswith(b"HTTP/1.1 400 ")


def test_trailers_are_no_headers(attacked: Server) -> None:
    with opened(attacked) as connection:
        connection.sendall(f"POST {ONE} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        connection.sendall(b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\nX-Request-ID: smuggled\r\n\r\n")
        response = answer(connection)
        assert (response.status_code, response.headers["x-request-id"] == "smuggled") == (200, False)


@pytest.mark.parametrize("split", [False, True])
def test_an_upgrade_that_is_not_made_costs_nothing(attacked: Server, split: bool) -> None:
    offered = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    begin = head(ONE, length=len(BODY))[:-2] + offered + b"\r\n"
    with opened(attacked) as connection:
        for _ in range(2):
            connection.sendall(begin)
            if split:
                elapse(0.05)
            connection.sendall(BODY)
            assert answer(connection).status_code == 200


def test_a_body_is_asked_for_where_its_sender_waits(attacked: Server) -> None:
    with opened(attacked) as connection:
        connection.sendall(head(ONE, length=len(BODY))[:-2] + b"Expect: 100-continue\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert answer(connection).status_code == 200
