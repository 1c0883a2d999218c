"""When the client asks again, and when it does not."""

from __future__ import annotations

import http.server
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from diffcdr.client import Client, Event, Retries, ServiceError, Unreachable
from tests.contract.client.conftest import SECRET


class Script:
    """A server that answers each request with the next of ``answers`` (status, Retry-After), and counts them."""

    def __init__(self, answers: list[tuple[int, str | None]]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.keys: list[str | None] = []
        self.connections = 0


@contextmanager
def scripted(script: Script) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            script.connections += 1

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.headers.get("transfer-encoding") == "chunked":
                size = 1
                while size:
                    size = int(self.rfile.readline(), 16)
                    self.rfile.read(size + 2)
            status, retry_after = script.answers[min(len(script.asked), len(script.answers) - 1)]
            script.asked.append(self.command)
            script.keys.append(self.headers.get("idempotency-key"))
            body = b'{"items": [], "bundle": "b"}' if status == 200 else b"<html>busy</html>"
            self.send_response(status)
            if retry_after is not None:
                self.send_header("Retry-After", retry_after)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    noted: list[float] = []
    monkeypatch.setattr("diffcdr.client.client.time.sleep", noted.append)
    return noted


def test_a_call_is_repeated_after_as_long_as_was_asked_for(waits: list[float]) -> None:
    script = Script([(503, "2"), (429, None), (200, None)])
    with scripted(script) as url, Client(url, rng=random.Random(7)) as own:
        assert own.popular().bundle == "b"
    assert script.asked == ["GET"] * 3
    assert script.connections == 1
    assert 2.0 <= waits[0] <= 2.5
    assert 0.0 <= waits[1] <= 0.2
    same = random.Random(7)
    assert waits == [2.0 * (1 + same.uniform(0, 0.25)), same.uniform(0.0, 0.2)]


@pytest.mark.parametrize(
    ("answers", "tries"),
    [([(503, "1")], 3), ([(503, "60")], 1), ([(500, None)], 1), ([(404, None)], 1), ([(502, None)], 3)],
)
def test_repeating_has_an_end(waits: list[float], answers: list[tuple[int, str | None]], tries: int) -> None:
    script = Script(answers)
    with scripted(script) as url, Client(url) as own, pytest.raises(ServiceError) as refused:
        own.popular()
    assert (len(script.asked), len(waits)) == (tries, tries - 1)
    assert (refused.value.status, refused.value.code) == (answers[0][0], "unknown")


def test_what_must_not_happen_twice_is_sent_once(waits: list[float]) -> None:
    script = Script([(503, "0")])
    with scripted(script) as url, Client(url) as own:
        for call in (own.roll_back, lambda: own.load_model("x"), lambda: list(own.recommend_batch(iter(["ann"])))):
            with pytest.raises(ServiceError):
                call()
        assert (len(script.asked), waits) == (3, [])
        with pytest.raises(ServiceError):
            list(own.recommend_batch(["ann"]))
        assert len(script.asked) == 6


def test_a_write_keeps_its_key_through_every_try_and_the_next_gets_another(waits: list[float]) -> None:
    script = Script([(503, "0")])
    with scripted(script) as url, Client(url) as own:
        for call in (lambda: own.add_events([Event("e", "ann", "s", 1.0)]), lambda: own.erase("ann"), own.popular):
            with pytest.raises(ServiceError):
                call()
    events, erasure, reading = (set(script.keys[first : first + 3]) for first in (0, 3, 6))
    assert (len(script.keys), len(waits), len(events), len(erasure)) == (9, 6, 1, 1)
    assert events.isdisjoint(erasure)
    assert reading == {None}


def test_another_request_under_a_key_is_refused(address: str) -> None:
    with Client(address, api_key=SECRET, draw_key=lambda: "drawn-once") as own:
        first = own.add_events([Event("k1", "keyed", "s00001", 5.0)])
        assert own.add_events([Event("k1", "keyed", "s00001", 5.0)]) == first
        with pytest.raises(ServiceError) as refused:
            own.add_events([Event("k2", "keyed", "s00002", 5.0)])
    assert (refused.value.status, refused.value.code) == (422, "idempotency_key_reused")


def test_nobody_there_is_said_in_a_sentence(waits: list[float], free_port: int) -> None:
    with (
        Client(f"http://127.0.0.1:{free_port}", retries=Retries(attempts=2)) as own,
        pytest.raises(Unreachable, match="did not answer"),
    ):
        own.popular()
    assert len(waits) == 1
