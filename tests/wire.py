"""Requests as bytes on a connection, where a client library is too well behaved; and what a problem looks like."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2 as httpx

from service.edge.problems import ProblemBody

JSON = "application/json"


def connect(client: httpx.Client, *, timeout: float = 10.0) -> socket.socket:
    """A connection to the server that ``client`` asks."""
    return socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=timeout)


def head(address: str, *, length: int, media_type: str = JSON) -> bytes:
    """The head of a POST with a body of ``length`` bytes."""
    lines = (f"POST {address} HTTP/1.1", "Host: localhost", f"Content-Type: {media_type}", f"Content-Length: {length}")
    return "\r\n".join((*lines, "", "")).encode()


@contextmanager
def held(client: httpx.Client, address: str, *, length: int = 21) -> Iterator[socket.socket]:
    """A request whose body of ``length`` bytes was announced and not sent; closed afterwards."""
    with connect(client) as connection:
        connection.sendall(head(address, length=length))
        yield connection


@contextmanager
def in_work(client: httpx.Client, address: str, *, length: int = 21) -> Iterator[socket.socket]:
    """As :func:`held`, and the service has begun with it: it has given leave to send the body."""
    with connect(client) as connection:
        text = head(address, length=length)
        connection.sendall(text[:-2] + b"Expect: 100-continue\r\n\r\n")
        leave = b"HTTP/1.1 100 Continue\r\n\r\n"
        received = connection.recv(len(leave), socket.MSG_WAITALL)
        assert received == leave, received
        yield connection


def answer(connection: socket.socket, *, method: str = "POST", path: str = "") -> httpx.Response:
    """The next answer on ``connection``, read whole; ``path`` is what was asked for."""
    received = http.client.HTTPResponse(connection, method=method)
    received.begin()
    return httpx.Response(
        received.status,
        headers=received.getheaders(),
        content=received.read(),
        request=httpx.Request(method, f"http://x{path}"),
    )


def problem(response: httpx.Response, status: int, code: str) -> ProblemBody:
    """The problem document of ``response``, which must be the one of ``code`` in every part."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = ProblemBody.model_validate_json(response.content)
    assert (body.status, body.code) == (status, code)
    assert body.type == f"urn:diffcdr:problem:{code}"
    assert body.request_id == response.headers["x-request-id"]
    assert body.instance == response.request.url.path
    return body
