"""The load generator against a real server: it counts what came back, and charges a stall to everybody who waited."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest

from bench.harness import limit_row
from bench.serving.load import REFUSED, Outcome, Target, closed_loop, open_loop, request, run
from bench.serving.processes import Served, bare, free_port
from bench.serving.serve import cold_requests
from diffcdr.errors import DiffCDRError
from tests.waiting import elapse

ANSWER = b'{"items": []}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    answer = tmp_path_factory.mktemp("bare") / "answer.json"
    answer.write_bytes(ANSWER)
    with bare(answer, core=None) as served:
        yield served


def test_the_plain_service_answers_with_the_bytes_it_was_given_and_refuses_what_it_cannot_parse(server: Served) -> None:
    assert server.ask("POST", "/v1/recommendations", b'{"user_id": "ann", "k": 20}') == ANSWER
    with pytest.raises(DiffCDRError, match="answered 422"):
        server.ask("POST", "/v1/recommendations", b'{"user": "ann"}')
    assert server.anonymous_mb() > 1.0


def test_a_closed_loop_gets_an_answer_for_every_request(server: Served) -> None:
    outcome = run(closed_loop(Target(server.port, cold_requests()), connections=4, seconds=0.3))
    assert set(outcome.statuses) == {200}
    assert outcome.failed == 0
    assert 0.0 < outcome.percentile(0.5) <= outcome.percentile(0.99) < 10.0
    assert outcome.rate == pytest.approx(outcome.statuses[200] / 0.3)


def test_an_open_loop_sends_as_many_as_it_was_asked_to_and_reports_other_statuses(server: Served) -> None:
    mixed = itertools.cycle(
        [next(cold_requests()), request("GET", "/nowhere"), request("POST", "/v1/recommendations", b"{")]
    )
    outcome = run(open_loop(Target(server.port, mixed), rate=100.0, seconds=0.6))
    assert outcome.statuses == {200: 20, 404: 20, 422: 20}
    assert outcome.failed == 40


def test_a_port_that_nobody_listens_on_accepts_nothing() -> None:
    outcome = run(open_loop(Target(free_port(), cold_requests()), rate=50.0, seconds=0.1))
    assert outcome.statuses == {REFUSED: 5}
    assert outcome.failed == 0
    assert outcome.percentile(0.99) == math.inf


def test_what_the_load_itself_was_late_by_is_told_apart(server: Served) -> None:
    """Requests are due faster than the generator can send them: the service is not to blame for that."""

    def slow() -> Iterator[bytes]:
        for each in cold_requests():
            elapse(0.005)
            yield each

    prompt = run(open_loop(Target(server.port, cold_requests()), rate=50.0, seconds=0.3))
    assert len(prompt.late) == 15
    assert 0.0 <= prompt.lateness(0.5) < 0.2
    outcome = run(open_loop(Target(server.port, slow()), rate=2000.0, seconds=0.1))
    assert outcome.statuses == {200: 200}
    assert outcome.lateness(0.99) > 0.2
    assert outcome.percentile(0.99) >= outcome.lateness(0.99)


def test_a_polite_refusal_is_no_failure_and_silence_is() -> None:
    outcome = Outcome(latencies={200: [0.1], 503: [0.01], 500: [0.2], 0: [math.inf]}, seconds=1.0)
    assert outcome.failed == 2


def test_a_figure_at_its_limit_has_the_ratio_one() -> None:
    assert limit_row("bench", "p99", figure=10.0, limit=10.0, unit="ms", floor=0.5).ratio == 1.0
    assert not limit_row("bench", "p99", figure=30.0, limit=10.0, unit="ms", floor=0.5).holds
