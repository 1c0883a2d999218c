"""``diffcdr.client`` against the real service: every method, both clients, and what happens where things go wrong."""

from __future__ import annotations

import asyncio
import hashlib
import http.server
import inspect
import random
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from diffcdr.client import (
    AsyncClient,
    Client,
    Event,
    Retries,
    ServiceError,
    ShadowShare,
    Unreachable,
    User,
    batches,
    questions,
    results,
    results_lookup,
)
from diffcdr.client.questions import Call
from service import schemas
from service.schemas import console
from tests.bundles import write_bundle
from tests.serving import gated_model, serving

USERS = [f"u{number:05}" for number in range(20, 50)]
SECRET = "correct horse battery staple"
KEYS = f"read,write,admin:{hashlib.sha256(SECRET.encode()).hexdigest()}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("client")
    write_bundle(path / "current", seed=1, users=3000)
    write_bundle(path / "candidate", seed=2, users=3000)
    return path


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with serving(folder / "current", state_url=f"sqlite:{folder / 'state'}", api_keys=KEYS) as http_client:
        yield str(http_client.base_url)


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address, api_key=SECRET) as made:
        yield made


def test_a_list_is_the_same_by_body_by_address_and_in_a_batch(client: Client) -> None:
    first = client.recommend(USERS[0], k=5, exclude_items=["t00001"], diversity=0.5, timeout_ms=10_000)
    second = client.recommend_user(USERS[0], k=5, exclude_items=["t00001"], diversity=0.5, timeout_ms=10_000)
    (line,) = client.recommend_batch([User(USERS[0], k=5, exclude_items=["t00001"], diversity=0.5)])
    assert first.items == second.items == line.items
    assert (first.strategy, [item.rank for item in first.items]) == ("transfer", [1, 2, 3, 4, 5])
    assert client.recommend(history=[("s00003", 5.0)]).strategy == "fold_in"


def test_vectors_cross_the_wire_bit_by_bit(client: Client, folder: Path) -> None:
    found = client.embed_users([USERS[0], "nobody"])
    assert (found.found.tolist(), found.vectors.dtype) == ([True, False], np.float32)
    assert not found.vectors[1].any()
    recommender = gated_model(folder / "current")[0].recommender
    np.testing.assert_array_equal(found.vectors[0], recommender.embed_users([USERS[0]])[0][0])
    source = np.asarray(recommender.bundle.source_users.vectors[:2])
    np.testing.assert_array_equal(client.embed_vectors(source).vectors, recommender.embed_vectors(source))


def test_people_are_remembered_and_forgotten(client: Client) -> None:
    sent = [Event(f"e{number}", "newcomer", f"s0000{number}", 5.0) for number in range(3)]
    assert (client.add_events(sent).accepted, client.add_events(sent).duplicates) == (3, 3)
    assert client.recommend("newcomer").strategy == "fold_in"
    client.opt_out("a/b ?")
    assert client.add_events([Event("e", "a/b ?", "s00001", 1.0)]).rejected[0].code == "opted_out"
    client.opt_in("a/b ?")
    assert client.add_events([Event("e", "a/b ?", "s00001", 1.0)]).accepted == 1
    assert client.erase("newcomer") == client.erase("newcomer")
    assert client.recommend("newcomer").fallback_reason == "opted_out"


@pytest.mark.parametrize("user", [".", "..", "…/%2F", "ü;?#&=+ "])
def test_any_id_is_one_segment_of_an_address(client: Client, user: str) -> None:
    client.opt_out(user)
    assert client.recommend_user(user).fallback_reason == "opted_out"
    client.opt_in(user)
    assert client.recommend(user).fallback_reason == "unknown_user"


def test_models_are_loaded_split_and_rolled_back(client: Client) -> None:
    before = client.models().models[0].id
    loaded = client.load_model("candidate")
    shadow = ShadowShare(model=loaded.id, percent=50)
    traffic = client.set_traffic(canary=loaded.id, percent=5, salt="s", shadow=shadow).traffic
    assert (traffic.percent, traffic.shadow) == (5, shadow)
    assert client.set_traffic().traffic.shadow is None
    assert client.activate_model(loaded.id).state == client.model(loaded.id).state == "stable"
    assert client.roll_back().id == before
    assert client.popular(k=3).bundle == before
    assert len(client.popular(k=3).items) == 3


def test_what_a_bundle_knows_is_looked_up(client: Client) -> None:
    assert client.find_users("u0000", limit=2).users == ("u00000", "u00001")
    assert [item.item_id for item in client.find_items("s0001", domain="source", limit=1).items] == ["s00010"]
    assert client.activity().samples[-1].requests >= 0
    with pytest.raises(ServiceError, match="not_in_bundle"):
        client.user_map()


def test_a_refusal_is_raised_with_its_problem(client: Client, address: str) -> None:
    with pytest.raises(ServiceError) as unknown:
        client.recommend("nobody", fallback="deny")
    assert (unknown.value.status, unknown.value.code) == (404, "user_unknown")
    assert unknown.value.problem.request_id
    with pytest.raises(ServiceError) as invalid:
        client.recommend("ann", k=1000)
    assert invalid.value.problem.errors[0].pointer == "/k"
    with Client(address, api_key="another") as stranger, pytest.raises(ServiceError, match="unauthenticated"):
        stranger.models()
    assert SECRET not in repr(client.__dict__)


def test_the_service_s_answers_have_what_the_client_reads() -> None:
    pairs = {
        results.RecommendationList: schemas.RecommendationAnswer,
        results.Item: schemas.Item,
        results.BatchLine: schemas.BatchLine,
        results.LineError: schemas.BatchError,
        results.ItemList: schemas.PopularAnswer,
        results.EventsResult: schemas.EventsAnswer,
        results.RejectedEvent: schemas.RejectedEvent,
        results.ErasureReceipt: schemas.ErasureReceipt,
        results.ModelSummary: schemas.ModelSummary,
        results.ModelsResult: schemas.ModelsAnswer,
        results.Readiness: schemas.Readiness,
        results.TrafficSplit: schemas.TrafficSplit,
        results.ShadowShare: schemas.ShadowShare,
        results_lookup.UserList: console.UsersAnswer,
        results_lookup.FoundItem: console.FoundItem,
        results_lookup.FoundItems: console.ItemsAnswer,
        results_lookup.RatedItem: console.RatedItem,
        results_lookup.History: console.HistoryAnswer,
        results_lookup.MapUser: console.MapUser,
        results_lookup.MapItem: console.MapItem,
        results_lookup.UserMap: console.MapAnswer,
        results_lookup.Place: console.PlaceAnswer,
        results_lookup.Sample: console.Sample,
        results_lookup.Activity: console.ActivityAnswer,
    }
    for read, sent in pairs.items():
        assert read.model_fields.keys() <= sent.model_fields.keys(), read


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        found = {name: value for name, value in vars(kind).items() if callable(value) and not name.startswith("_")}
        return {name: [*inspect.signature(value).parameters] for name, value in found.items()}

    ours, theirs = methods(Client), methods(AsyncClient)
    assert ours == theirs
    assert ours["recommend"] == ["user_id", "timeout_ms", "wishes"]


def test_every_operation_of_v1_has_a_method(address: str) -> None:
    calls: list[Call[Any]] = [
        questions.recommend("ID"),
        questions.recommend_user("ID"),
        questions.embed_users(["ID"]),
        questions.add_events([]),
        questions.popular(),
        questions.opt_out("ID"),
        questions.opt_in("ID"),
        questions.erase("ID"),
        questions.models(),
        questions.model("ID"),
        questions.load_model("ID"),
        questions.activate_model("ID"),
        questions.roll_back(),
        questions.set_traffic(),
        questions.find_users(),
        questions.find_items(),
        questions.history("ID"),
        questions.user_map(),
        questions.place("ID"),
        questions.activity(),
    ]
    ours = {(call.method, call.path) for call in calls} | {("POST", batches.PATH)}
    document = httpx.get(f"{address}/openapi.json").json()["paths"]
    offered = {
        (method.upper(), re.sub(r"\{\w+\}", "ID", path))
        for path, operations in document.items()
        for method in operations
        if path.startswith("/v1/")
    }
    assert ours == offered


def test_what_may_be_wished_is_what_the_service_takes() -> None:
    taken = schemas.RecommendationRequest.model_fields.keys()
    assert questions.Wishes.__annotations__.keys() <= taken
    assert questions.Options.__annotations__.keys() <= schemas.RecommendationParameters.model_fields.keys()


def test_the_asynchronous_client_answers_alike_and_at_once(address: str, client: Client) -> None:
    async def ask() -> tuple[list[Any], list[Any]]:
        async def users() -> AsyncIterator[str | User]:
            for user in USERS:
                await asyncio.sleep(0)
                yield user

        async with AsyncClient(address, api_key=SECRET) as own:
            lists = await asyncio.gather(*(own.recommend(user) for user in USERS))
            assert (await own.popular(k=2)).items == client.popular(k=2).items
            with pytest.raises(ServiceError, match="user_unknown"):
                await own.recommend("nobody", fallback="deny")
            lines = [line async for line in own.recommend_batch(users())]
            assert [line.items for line in lines] == [line.items async for line in own.recommend_batch(USERS)]
            return list(lists), lines

    lists, lines = asyncio.run(ask())
    expected = [client.recommend(user).items for user in USERS]
    assert [each.items for each in lists] == expected == [line.items for line in lines]


def test_a_batch_is_streamed_both_ways(client: Client) -> None:
    taken = 0

    def users() -> Iterator[str]:
        nonlocal taken
        for number in range(5_000):
            taken += 1
            yield f"u{number % 3000:05}"

    lines = client.recommend_batch(users())
    assert taken == 0
    first = next(lines)
    assert first.index == 0
    assert [line.index for line in lines] == list(range(1, 5_000))
    assert taken == 5_000


def test_a_batch_left_early_keeps_the_client_usable_and_errors_stay_in_their_line(client: Client) -> None:
    left = client.recommend_batch(USERS * 100)
    next(left)
    left.close()
    lines = list(client.recommend_batch([USERS[0], User("nobody", fallback="deny"), USERS[1]]))
    assert [line.error and line.error.code for line in lines] == [None, "user_unknown", None]


def test_titles_may_hold_what_looks_like_the_end_of_a_line(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", items=["a\u2028b", "c\x85d", "e"], titles=False)
    with serving(tmp_path / "bundle") as http_client, Client(str(http_client.base_url)) as own:
        (line,) = own.recommend_batch(["u00020"])
        assert {item.item_id for item in line.items} == {"a\u2028b", "c\x85d", "e"}


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
                while (size := int(self.rfile.readline(), 16)) + len(self.rfile.read(size + 2)) > 2:
                    pass
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
    monkeypatch.setattr("diffcdr.client.synchronous.time.sleep", noted.append)
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
