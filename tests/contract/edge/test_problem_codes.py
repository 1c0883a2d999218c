"""Each code of the catalogue is reached over a real connection: one row a code, and none may be without."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from select import select

import httpx2 as httpx
import pytest

from service.edge.problems import CATALOGUE, ProblemBody
from tests.bundles import write_bundle
from tests.serving import GatedRecommender, gated_model, serving
from tests.waiting import until
from tests.wire import JSON, answer, connect, head, problem

ONE = "/v1/recommendations"
ASKED = {"user_id": "u02500"}
KEYS = f"read:{hashlib.sha256(b'reader').hexdigest()};read:{hashlib.sha256(b'eager').hexdigest()}"


@dataclass(frozen=True)
class Place:
    """Services to ask: ``calm`` has default settings, ``guarded`` wants keys, ``hasty`` does not wait and has no map,
    ``troubled`` has hardly anything.
    """

    calm: httpx.Client
    guarded: httpx.Client
    hasty: httpx.Client
    troubled: httpx.Client
    """No state, room for one request at a time, and an engine that can be slowed down."""
    gate: GatedRecommender


@pytest.fixture(scope="module")
def place(client: httpx.Client, bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("codes")
    write_bundle(folder / "bundle", users=3000)
    model, gate = gated_model(folder / "bundle")
    nowhere = f"unix://{folder / 'nothing.sock'}"
    with (
        serving(bundle_path, api_keys=KEYS, rate_limit=0.001) as guarded,
        serving(folder / "bundle", head_seconds=0.5) as hasty,
        serving(folder / "bundle", model=model, state_url=nowhere, max_in_flight=1) as troubled,
    ):
        yield Place(client, guarded, hasty, troubled, gate)


def _not_http(place: Place) -> httpx.Response:
    with connect(place.calm) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        return answer(connection)


def _too_late(place: Place) -> httpx.Response:
    with connect(place.hasty) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\n")
        return answer(connection)


def _too_often(place: Place) -> httpx.Response:
    key = {"X-API-Key": "eager"}
    place.guarded.get("/v1/models", headers=key)
    return place.guarded.get("/v1/models", headers=key)


def _too_many(place: Place) -> httpx.Response:
    body = json.dumps(ASKED).encode()
    computed = len(place.gate.calls)
    with ExitStack() as connections, place.gate.held():

        def hold() -> bool:
            """Whether a request is computed; the place may still be that of one that was answered just now."""
            connection = connections.enter_context(connect(place.troubled))
            connection.sendall(head(ONE, length=len(body)) + body)
            until(lambda: len(place.gate.calls) > computed or select([connection], [], [], 0)[0])
            return len(place.gate.calls) > computed

        def ask() -> httpx.Response | None:
            answered = place.troubled.get("/v1/items/popular")
            return None if answered.status_code == 200 else answered

        until(hold)
        # A burst may go beyond the limit for a moment.
        refused = until(ask)
    # It has left once there is a place again: else the next one were refused too.
    until(lambda: place.troubled.get("/v1/items/popular").status_code == 200)
    return refused


def _too_slow(place: Place) -> httpx.Response:
    with place.gate.held():
        return place.troubled.post(ONE, json={**ASKED, "timeout_ms": 50})


def _same_key(place: Place) -> httpx.Response:
    key = {"Idempotency-Key": "drawn-once"}
    event = {"event_id": "1", "user_id": "nobody-else", "item_id": "s00001", "rating": 5}
    place.calm.post("/v1/events", json={"events": [event]}, headers=key)
    return place.calm.post("/v1/events", json={"events": [{**event, "rating": 1}]}, headers=key)


PROVOKED: dict[str, Callable[[Place], httpx.Response]] = {
    "malformed_json": lambda place: place.calm.post(ONE, content=b"{", headers={"Content-Type": JSON}),
    "bad_request": _not_http,
    "unauthenticated": lambda place: place.guarded.post(ONE, json=ASKED),
    "forbidden": lambda place: place.guarded.post("/v1/admin/models/rollback", headers={"X-API-Key": "reader"}),
    "cross_origin": lambda place: place.calm.post(ONE, json=ASKED, headers={"Origin": "https://elsewhere.example"}),
    "not_found": lambda place: place.calm.get("/v1/nothing"),
    "user_unknown": lambda place: place.calm.post(ONE, json={"user_id": "nobody", "fallback": "deny"}),
    "item_unknown": lambda place: place.calm.get("/v1/items/nothing/similar"),
    "model_unknown": lambda place: place.calm.post(ONE, json={**ASKED, "model": "other"}),
    "not_in_bundle": lambda place: place.hasty.get("/v1/map"),
    "method_not_allowed": lambda place: place.calm.delete(ONE),
    "request_timeout": _too_late,
    "conflict": lambda place: place.calm.post("/v1/admin/models/rollback"),
    "body_too_large": lambda place: place.calm.post(ONE, json={"user_id": "u" * (4 << 20)}),
    "unsupported_media_type": lambda place: place.calm.post(ONE, content=b"{}", headers={"Content-Type": "text/plain"}),
    "host_unknown": lambda place: place.calm.get("/v1/models", headers={"Host": "rebound.example"}),
    "invalid_request": lambda place: place.calm.post(ONE, json={**ASKED, "k": 0}),
    "idempotency_key_reused": _same_key,
    "bundle_refused": lambda place: place.troubled.post("/v1/admin/models/load", json={"path": "missing"}),
    "rate_limited": _too_often,
    "internal_error": lambda place: place.troubled.post(ONE, json={"user_id": "poison"}),
    "overloaded": _too_many,
    "state_unavailable": lambda place: place.troubled.put("/v1/users/u02500/opt-out"),
    "deadline_exceeded": _too_slow,
}
"""code -> a request that is answered with it."""


BEFORE_A_REQUEST = ("bad_request", "request_timeout")
"""No request is there yet of which id or address could be told."""


def test_no_code_is_without_a_way_to_it() -> None:
    assert PROVOKED.keys() == CATALOGUE.keys()


@pytest.mark.parametrize("code", CATALOGUE)
def test_the_code_is_answered_as_the_catalogue_has_it(place: Place, code: str) -> None:
    response = PROVOKED[code](place)
    status, title = CATALOGUE[code]
    if code in BEFORE_A_REQUEST:
        body = ProblemBody.model_validate_json(response.content)
        assert (response.status_code, body.status, body.code) == (status, status, code)
    else:
        body = problem(response, status, code)
    assert body.title == title
    assert body.detail != title
    assert ("retry-after" in response.headers) == (status in (429, 503))
    assert ("www-authenticate" in response.headers) == (status == 401)
    assert bool(body.errors) == (code == "invalid_request")


@pytest.mark.parametrize("code", [code for code in CATALOGUE if code not in (*BEFORE_A_REQUEST, "not_found")])
def test_the_status_is_documented_where_it_was_met(place: Place, code: str) -> None:
    response = PROVOKED[code](place)
    documented = place.calm.get("/openapi.json").json()["paths"]
    here = response.request.url.path
    # /v1/items/popular is no item's address.
    (operations,) = [
        operations
        for path, operations in documented.items()
        if path == here or (here not in documented and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), here))
    ]
    if response.status_code == 405:
        assert response.request.method.lower() not in operations
    else:
        described = operations[response.request.method.lower()]["responses"][str(response.status_code)]
        assert CATALOGUE[code][1] in described["description"]
