"""The mixture asks everything there is, the tally tells right from wrong, and growth of memory is seen."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pytest

from bench.serving import soak
from bench.serving.mixture import KINDS, Question, questions
from diffcdr.errors import DiffCDRError
from service.app import create_app
from service.settings import Settings


@pytest.fixture(scope="module")
def first() -> list[Question]:
    """The first few thousand questions."""
    return list(islice(questions(soak.POPULATION, seed=0), 4000))


def test_the_same_seed_asks_the_same(first: list[Question]) -> None:
    assert list(islice(questions(soak.POPULATION, seed=0), 100)) == first[:100]
    assert list(islice(questions(soak.POPULATION, seed=1), 100)) != first[:100]


def test_shares_are_of_a_hundred_and_kept_to(first: list[Question]) -> None:
    assert sum(share for _, share in KINDS) == 100.0
    assert 0.25 < sum(question.kind == "known" for question in first) / len(first) < 0.35


def test_every_operation_but_administration_is_asked(first: list[Question]) -> None:
    offered = {
        (method.upper(), path)
        for path, operations in create_app(Settings.read(bundle="none")).openapi()["paths"].items()
        for method in operations
        if not path.startswith("/v1/admin/")
    }
    asked = {(question.method, question.path.partition("?")[0]) for question in first}
    unasked = {
        (method, path)
        for method, path in offered
        if not any(one == method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), way) for one, way in asked)
    }
    assert unasked == set()


def test_bad_requests_and_clients_that_leave_are_part_of_it(first: list[Question]) -> None:
    expected = set().union(*(question.expected for question in first))
    assert {200, 202, 204, 400, 404, 405, 413, 415, 422} <= expected
    assert 500 not in expected
    assert any(question.leaves for question in first)


def test_memory_at_the_end_is_held_to_what_it_was_after_the_first_tenth() -> None:
    warm_up, steady = [50.0] * 10, [100.0] * 80
    assert soak.memory_row([*warm_up, *steady, *[101.0] * 10], minutes=20).holds
    grown = soak.memory_row([*warm_up, *steady, *[106.0] * 10], minutes=20)
    assert not grown.holds
    assert (grown.ours, grown.baseline) == (106.0, 105.0)
    lies_idle = [*[109.0] * 9, 101.0]
    assert soak.memory_row([*warm_up, *steady, *lies_idle], minutes=20).holds
    assert soak.memory_row([*warm_up, *steady, *[110.0] * 10], minutes=2).holds, "not at rest yet"
    assert not soak.memory_row([*warm_up, *steady, *[130.0] * 10], minutes=2).holds


@contextmanager
def answering(status: int) -> Iterator[int]:
    """The port of a server that answers everything with ``status``, or with nothing where that is 0."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if status:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
            self.close_connection = not status

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    ("status", "shown"), [(200, ""), (500, "looking: 9 x 500"), (0, "looking: 9 x RemoteDisconnected")]
)
def test_what_is_not_expected_is_named_by_kind_and_status(status: int, shown: str) -> None:
    looking = Question("looking", "GET", "/livez", frozenset({200}))
    with answering(status) as port:
        load = soak.Load(port, iter([looking] * 9), rate=1000.0, seconds=30.0)
        load.call()
    assert str(load.tally) == shown
    assert load.tally.right == (9 if status == 200 else 0)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few bundles to load, and memory is read often."""
    for name, value in (("SAMPLE_SECONDS", 0.05), ("BUNDLES", 2), ("RELOADS", 2)):
        monkeypatch.setattr(soak, name, value)


@pytest.mark.usefixtures("brief")
def test_a_short_soak_of_the_real_service() -> None:
    answered, memory = soak.soak(0.05, rate=100.0)
    assert answered.ours > 5
    assert answered.holds
    assert memory.ours > 20.0


@pytest.mark.usefixtures("brief")
def test_a_wrong_answer_is_a_failure_with_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Question("impossible", "GET", "/livez", frozenset({418}))
    monkeypatch.setattr(soak, "questions", lambda population, seed: iter([wrong] * 3))
    with pytest.raises(DiffCDRError, match="3 answers were not as expected: impossible: 3 x 200"):
        list(soak.soak(0.03))
