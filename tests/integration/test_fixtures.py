"""The shared fixtures do what they say."""

from __future__ import annotations

import socket

import pytest
import redis


@pytest.mark.parametrize("attempt", [1, 2])
def test_every_test_gets_an_empty_real_redis(redis_url: str, attempt: int) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("key", attempt)
        assert client.get("key") == str(attempt).encode()


def test_the_free_port_can_be_bound(free_port: int) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port))
