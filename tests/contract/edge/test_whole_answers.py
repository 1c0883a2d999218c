"""An answer goes out in one write: a process that is killed leaves a whole one, or none that a proxy cannot repeat."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from bench.serving.load import request
from service.process.protocol import ServiceProtocol
from tests.contract.edge.test_overload import full
from tests.serving import serving
from tests.wire import answer, connect


class Counted:
    """A transport that keeps what was written to it, each write by itself."""

    def __init__(self, transport: asyncio.Transport, writes: list[bytes]) -> None:
        self._transport = transport
        self._writes = writes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if data:
            self._writes.append(bytes(data))
        self._transport.write(data)


@pytest.fixture(scope="module")
def noted() -> Iterator[list[bytes]]:
    """Every write to any connection of the servers of this module."""
    found: list[bytes] = []
    original = ServiceProtocol.connection_made
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            ServiceProtocol, "connection_made", lambda self, transport: original(self, Counted(transport, found))
        )
        yield found


@pytest.fixture
def writes(noted: list[bytes]) -> list[bytes]:
    """Those of this test."""
    noted.clear()
    return noted


@pytest.fixture(scope="module")
def client(bundle_path: Path, noted: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Of a service with a state of its own: somebody opts out."""
    state = tmp_path_factory.mktemp("state") / "state.sqlite"
    with serving(bundle_path, state_url=f"sqlite:{state}") as client:
        yield client


@pytest.mark.parametrize(
    ("method", "address", "body"),
    [
        ("POST", "/v1/recommendations", {"user_id": "u00042"}),
        ("POST", "/v1/recommendations", {"user_id": "u00042", "k": 0}),
        ("GET", "/v1/users/u00042/recommendations", None),
        ("POST", "/v1/embeddings", {"user_ids": [f"u{row:05d}" for row in range(1000)]}),
        ("GET", "/v1/items/popular", None),
        ("PUT", "/v1/users/u00043/opt-out", None),
        ("GET", "/v1/nothing", None),
        ("DELETE", "/v1/recommendations", None),
        ("GET", "/metrics", None),
        ("GET", "/livez", None),
        ("GET", "/docs", None),
        ("GET", "/openapi.json", None),
        ("GET", "/console/app.js", None),
        ("HEAD", "/static-offline-docs/favicon.png", None),
    ],
)
def test_head_and_body_are_one_write(
    client: httpx.Client, writes: list[bytes], method: str, address: str, body: dict[str, Any] | None
) -> None:
    answered = client.request(method, address, json=body, headers={"accept-encoding": "identity"})
    (written,) = writes
    assert written.startswith(b"HTTP/1.1 %d " % answered.status_code)
    assert written.endswith(b"\r\n\r\n" + answered.content)


def test_a_refusal_before_and_after_its_turn_is_one_write(bundle_path: Path, writes: list[bytes]) -> None:
    with full(bundle_path) as (client, _), connect(client) as connection:
        for asked in (request("GET", "/v1/items/popular"), request("GET", "/%761/items/popular")):
            writes.clear()
            connection.sendall(asked)
            assert answer(connection).status_code == 503
            assert len(writes) == 1


def test_answers_one_after_the_other_on_a_connection_are_a_write_each(
    client: httpx.Client, writes: list[bytes]
) -> None:
    asked = [request("GET", "/livez"), request("HEAD", "/static-offline-docs/favicon.png")] * 3
    last = request("GET", "/v1/nothing")
    with connect(client) as connection:
        connection.sendall(b"".join([*asked, last]))
        received = b""
        while not received.endswith(b"}") or b"HTTP/1.1 404" not in received:
            received += connection.recv(65536)
    assert b"".join(writes) == received
    assert [written[:12] for written in writes] == [b"HTTP/1.1 200"] * len(asked) + [b"HTTP/1.1 404"]


def test_the_head_of_a_stream_is_there_before_anything_else_is(client: httpx.Client, writes: list[bytes]) -> None:
    head = b"POST /v1/recommendations/batch HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\n"
    with connect(client) as connection:
        connection.sendall(head + b"transfer-encoding: chunked\r\n\r\n")
        line = b'{"user_id": "u00042", "k": 1}\n' * 600
        connection.sendall(b"%x\r\n" % len(line) + line + b"\r\n")
        received = b""
        while b'"index":0' not in received:
            received += connection.recv(65536)
        # The request is not even complete.
        connection.sendall(b"0\r\n\r\n")
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += connection.recv(65536)
    assert writes[0].endswith(b"\r\n\r\n") and writes[0].count(b"\r\n\r\n") == 1
    assert b"".join(writes) == received
