"""Opting out and being forgotten, over HTTP, with both stores and with a Redis that comes and goes."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from service.edge.problems import ProblemBody
from tests import web
from tests.redis_server import OwnRedis
from tests.serving import serving
from tests.waiting import until

USER = "u02500"
HISTORY = [{"item_id": "s00003", "rating": 5}]


@pytest.fixture(params=["sqlite", "redis"])
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    return f"sqlite:{tmp_path / 'state.sqlite'}"


def spoken(client: httpx.Client, **body: Any) -> str:
    return str(client.post("/v1/recommendations", json=body).json()["strategy"])


def every_path(client: httpx.Client, user: str) -> list[str]:
    """What speaks to ``user`` on every path that could be personal, and whether a vector is given out."""
    batch = client.post("/v1/recommendations/batch", json=[{"user_id": user}, {"user_id": user, "history": HISTORY}])
    found = client.post("/v1/embeddings", json={"user_ids": [user]}).json()["embeddings"][0]["found"]
    return [
        spoken(client, user_id=user),
        spoken(client, user_id=user, history=HISTORY),
        spoken(client, user_id=user, fallback="deny"),
        client.get(f"/v1/users/{user}/recommendations").json()["strategy"],
        *(json.loads(line)["strategy"] for line in batch.text.splitlines()),
        "vector" if found else "none",
    ]


def test_an_opted_out_user_is_never_personalised_by_any_path(bundle_path: Path, state_url: str) -> None:
    with serving(bundle_path, state_url=state_url) as client:
        assert "popular" not in every_path(client, USER)
        assert client.put(f"/v1/users/{USER}/opt-out").status_code == 204
        assert every_path(client, USER) == ["popular"] * 6 + ["none"]
        answer = client.post("/v1/recommendations", json={"user_id": USER}).json()
        assert answer["fallback_reason"] == "opted_out"
        assert spoken(client, user_id="u02501") == "transfer"
        assert client.delete(f"/v1/users/{USER}/opt-out").status_code == 204
        assert "popular" not in every_path(client, USER)


def test_an_erased_user_stays_erased(bundle_path: Path, state_url: str) -> None:
    with serving(bundle_path, state_url=state_url) as client:
        first = client.delete(f"/v1/users/{USER}")
        assert first.status_code == 202
        assert client.delete(f"/v1/users/{USER}").json() == first.json()
        client.delete(f"/v1/users/{USER}/opt-out")
        assert every_path(client, USER) == ["popular"] * 6 + ["none"]
    with serving(bundle_path, state_url=state_url) as client:
        assert every_path(client, USER) == ["popular"] * 6 + ["none"]


@pytest.mark.parametrize("user", ["u00003", "u00150"])  # warm, with source ratings too; and without target ratings
def test_what_neighbours_say_of_a_stored_history_is_forgotten_too(sparse_path: Path, tmp_path: Path, user: str) -> None:
    """Who opted out, and who was erased, gets what a stranger gets, item by item and score by score."""

    def lists(client: httpx.Client, user_id: str) -> list[Any]:
        asked = {"user_id": user_id, "exclude_seen": False}
        bodies = [
            asked,
            asked | {"history": HISTORY},
            asked | {"target_history": [{"item_id": "t00003", "rating": 5}]},
            asked | {"diversity": 0.5},
        ]
        answers = [client.post("/v1/recommendations", json=body).json() for body in bodies]
        batch = client.post("/v1/recommendations/batch", json=bodies)
        answers += [json.loads(line) for line in batch.text.splitlines()]
        answers.append(client.get(f"/v1/users/{user_id}/recommendations", params={"exclude_seen": False}).json())
        return [answer["items"] for answer in answers]

    with serving(sparse_path, state_url=f"sqlite:{tmp_path / 'state.sqlite'}") as client:
        client.put("/v1/users/a stranger/opt-out")
        before, strange = lists(client, user), lists(client, "a stranger")
        assert all(mine != theirs for mine, theirs in zip(before, strange, strict=True))
        client.put(f"/v1/users/{user}/opt-out")
        assert lists(client, user) == strange
        client.delete(f"/v1/users/{user}/opt-out")
        assert lists(client, user) == before
        client.delete(f"/v1/users/{user}")
        assert lists(client, user) == strange


def test_an_opt_out_at_one_replica_holds_at_the_other_at_once(bundle_path: Path, state_url: str) -> None:
    with serving(bundle_path, state_url=state_url) as one, serving(bundle_path, state_url=state_url) as other:
        for number in range(20):
            user = f"u{number + 100:05d}"
            assert spoken(other, user_id=user) == "transfer"
            assert one.put(f"/v1/users/{user}/opt-out").status_code == 204
            assert spoken(other, user_id=user) == "popular"


def test_opting_out_while_being_asked_about(bundle_path: Path, state_url: str) -> None:
    wrong: list[str] = []
    with serving(bundle_path, state_url=state_url) as client:

        def ask(user: str, acknowledged: threading.Event) -> None:
            with web.client(base_url=client.base_url) as mine:
                for _ in range(15):
                    was = acknowledged.is_set()
                    if was and spoken(mine, user_id=user) != "popular":
                        wrong.append(user)
                    if not was:
                        spoken(mine, user_id=user)

        for number in range(4):
            user = f"u{number + 200:05d}"
            acknowledged = threading.Event()
            threads = [threading.Thread(target=ask, args=(user, acknowledged)) for _ in range(3)]
            for thread in threads:
                thread.start()
            assert client.put(f"/v1/users/{user}/opt-out").status_code == 204
            acknowledged.set()
            for thread in threads:
                thread.join()
    assert wrong == []


def test_ids_of_every_kind_can_opt_out(bundle_path: Path, state_url: str) -> None:
    with serving(bundle_path, state_url=state_url) as client:
        for address in ("a%2Fb", "%C3%BC", "nobody%20here", "line%0Abreak", "x%2Fopt-out", "100%25"):
            assert client.put(f"/v1/users/{address}/opt-out").status_code == 204
            assert client.get(f"/v1/users/{address}/recommendations").json()["fallback_reason"] == "opted_out"
        by_body = client.post("/v1/recommendations", json={"user_id": "x/opt-out"}).json()
        assert by_body["fallback_reason"] == "opted_out"
        for method, address in (("PUT", f"/v1/users/{'x' * 257}/opt-out"), ("DELETE", f"/v1/users/{'x' * 257}")):
            assert client.request(method, address).status_code == 422


def test_an_address_about_something_else_erases_nobody(bundle_path: Path, state_url: str) -> None:
    with serving(bundle_path, state_url=state_url) as client:
        refused = client.delete("/v1/users/u02500/recommendations")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
        refused = client.get("/v1/users/u02500/opt-out")
        assert (refused.status_code, refused.headers["allow"]) == (405, "DELETE, PUT")
        assert client.delete("/v1/users/u02500/nothing").status_code == 404


@pytest.mark.parametrize("how", ["killed", "paused"])
@pytest.mark.parametrize("copy_seconds", [0.0, 60.0])
def test_a_redis_that_is_away_degrades_the_answer_and_not_the_service(
    bundle_path: Path, own_redis: OwnRedis, how: str, copy_seconds: float
) -> None:
    own_redis.start("--appendonly", "yes")
    overrides: dict[str, Any] = {"timeout_ms": 10_000, "state_copy_seconds": copy_seconds}
    with serving(bundle_path, state_url=own_redis.url, **overrides) as client:
        client.put(f"/v1/users/{USER}/opt-out")
        assert spoken(client, user_id=USER) == "popular"
        with getattr(own_redis, how)():
            said = client.post("/v1/recommendations", json={"user_id": "u02501"}).json()
            known = (said["strategy"], said["fallback_reason"])
            assert known == (("transfer", None) if copy_seconds else ("popular", "state_unavailable"))
            assert spoken(client, user_id=USER) == "popular"
            denied = client.post("/v1/recommendations", json={"user_id": "u02501", "fallback": "deny"})
            assert denied.status_code == (200 if copy_seconds else 503)
            vectors = client.post("/v1/embeddings", json={"user_ids": ["u02501"]})
            assert vectors.status_code == (200 if copy_seconds else 503)
            assert client.get("/v1/users").status_code == (200 if copy_seconds else 503)
            refused = client.put("/v1/users/u02502/opt-out")
            assert ProblemBody.model_validate_json(refused.content).code == "state_unavailable"
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            ready = client.get("/readyz")
            assert (ready.status_code, ready.json()["components"]["state"]) == (200, "degraded")
        until(lambda: client.put("/v1/users/u02502/opt-out").status_code == 204)
        until(lambda: client.get("/readyz").json()["components"]["state"] == "ok")
        assert [spoken(client, user_id=user) for user in (USER, "u02502", "u02501")] == [
            "popular",
            "popular",
            "transfer",
        ]


def test_what_was_acknowledged_holds_even_if_redis_is_gone_before_anybody_asks(
    bundle_path: Path, own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_redis.start()
    # Nobody looks at the state meanwhile.
    monkeypatch.setattr("service.lifespan.STATE_SECONDS", 60.0)
    with serving(bundle_path, state_url=own_redis.url, timeout_ms=10_000, state_copy_seconds=60) as client:
        assert client.put(f"/v1/users/{USER}/opt-out").status_code == 204
        assert client.delete("/v1/users/u02501").status_code == 202
        own_redis.kill()
        asked = (USER, "u02501", "u02502")
        assert [spoken(client, user_id=user) for user in asked] == ["popular", "popular", "transfer"]
