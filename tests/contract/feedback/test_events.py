"""Ratings sent by callers, and what they do for users whom the bundle does not know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from service.edge.problems import ProblemBody
from service.schemas import EventsAnswer
from tests.bundles import write_bundle
from tests.serving import gated_model, metric, serving

RATINGS = [("s00003", 5.0), ("s00019", 2.0), ("s00003", 4.0)]
HISTORY = [{"item_id": item, "rating": rating} for item, rating in RATINGS]


@pytest.fixture(params=["sqlite", "redis"])
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    return f"sqlite:{tmp_path / 'state.sqlite'}"


def events(*users: str) -> list[dict[str, Any]]:
    return [
        {"event_id": f"e{number}", "user_id": user, "item_id": item, "rating": rating}
        for user in users
        for number, (item, rating) in enumerate(RATINGS)
    ]


def send(client: httpx.Client, *users: str) -> EventsAnswer:
    response = client.post("/v1/events", json={"events": events(*users)})
    assert response.status_code == 200, response.text
    answer = EventsAnswer.model_validate_json(response.content)
    assert answer.request_id == response.headers["x-request-id"]
    return answer


def ask(client: httpx.Client, **body: Any) -> dict[str, Any]:
    answer: dict[str, Any] = client.post("/v1/recommendations", json=body).json()
    return answer


def said(answer: dict[str, Any]) -> tuple[Any, ...]:
    return answer["strategy"], answer["fallback_reason"], answer["items"]


def test_a_newcomer_is_answered_from_events_as_from_the_same_history(bundle_path: Path, state_url: str) -> None:
    with serving(bundle_path, state_url=state_url) as client, serving(bundle_path, state_url=state_url) as other:
        assert ask(client, user_id="new")["fallback_reason"] == "unknown_user"
        first = send(client, "new")
        assert (first.accepted, first.duplicates, first.rejected) == (3, 0, [])
        again = send(other, "new")
        assert (again.accepted, again.duplicates) == (0, 3)
        expected = said(ask(client, history=HISTORY))
        assert expected[0] == "fold_in"
        for replica in (client, other):
            assert said(ask(replica, user_id="new")) == expected
            assert said(replica.get("/v1/users/new/recommendations").json()) == expected
            users = [{"user_id": "u02500"}, {"user_id": "new"}, {"user_id": "nobody"}, {"user_id": "new", "k": 3}]
            batch = replica.post("/v1/recommendations/batch", json=users)
            lines = [json.loads(line) for line in batch.text.splitlines()]
            assert said(lines[1]) == expected
            assert [line["strategy"] for line in lines] == ["transfer", "fold_in", "popular", "fold_in"]
        assert metric(client, "diffcdr_events_total", outcome="accepted") == 3
        assert metric(other, "diffcdr_events_total", outcome="duplicate") == 3
    with serving(bundle_path, state_url=state_url) as client:
        assert said(ask(client, user_id="new")) == expected, "durable"


def test_events_speak_for_nobody_who_has_a_vector_or_brings_a_history(bundle_path: Path, state_url: str) -> None:
    with serving(bundle_path, state_url=state_url) as client:
        before = {user: said(ask(client, user_id=user)) for user in ("u02500", "u00003", "v00001")}
        send(client, *before, "new")
        assert {user: said(ask(client, user_id=user)) for user in before} == before
        other = [{"item_id": "s00007", "rating": 1}]
        assert said(ask(client, user_id="new", history=other)) == said(ask(client, history=other))


def test_what_cannot_be_folded_in_falls_back(bundle_path: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "plain", fold_in=None)
    with serving(tmp_path / "plain") as client:
        send(client, "new")
        assert ask(client, user_id="new")["fallback_reason"] == "unknown_user"
    with serving(bundle_path, state_url=f"sqlite:{tmp_path / 'state'}") as client:
        strange = {"event_id": "1", "user_id": "new", "item_id": "no such item", "rating": 1}
        assert client.post("/v1/events", json={"events": [strange]}).json()["accepted"] == 1
        assert ask(client, user_id="new")["fallback_reason"] == "no_usable_history"
        denied = client.post("/v1/recommendations", json={"user_id": "new", "fallback": "deny"})
        assert ProblemBody.model_validate_json(denied.content).code == "user_unknown"


def test_whoever_opted_out_is_not_personalised_by_events_and_none_are_taken(bundle_path: Path, state_url: str) -> None:
    with serving(bundle_path, state_url=state_url) as client:
        send(client, "new")
        client.put("/v1/users/new/opt-out")
        assert ask(client, user_id="new")["fallback_reason"] == "opted_out"
        answer = send(client, "other", "new")
        assert (answer.accepted, answer.duplicates) == (3, 0)
        assert [(one.index, one.event_id, one.code) for one in answer.rejected] == [
            (3, "e0", "opted_out"),
            (4, "e1", "opted_out"),
            (5, "e2", "opted_out"),
        ]
        client.delete("/v1/users/new/opt-out")
        assert ask(client, user_id="new")["strategy"] == "fold_in", "taken back"


def test_events_of_an_erased_user_are_gone_and_never_come_back(bundle_path: Path, state_url: str) -> None:
    with serving(bundle_path, state_url=state_url) as client:
        send(client, "new")
        assert client.delete("/v1/users/new").status_code == 202
        assert len(send(client, "new").rejected) == 3
        client.delete("/v1/users/new/opt-out")
        assert ask(client, user_id="new")["fallback_reason"] == "opted_out"


def test_each_user_costs_one_engine_row_however_the_answer_is_found(bundle_path: Path, state_url: str) -> None:
    model, gate = gated_model(bundle_path)
    with serving(bundle_path, model=model, state_url=state_url) as client:
        send(client, "new")
        gate.calls.clear()
        for user in ("u02500", "new"):
            ask(client, user_id=user)
    assert gate.users == ["u02500", "new"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"event_id": ""}, "/events/0/event_id"),
        ({"user_id": "x" * 257}, "/events/0/user_id"),
        ({"item_id": None}, "/events/0/item_id"),
        ({"rating": "5"}, "/events/0/rating"),
        ({"rating": True}, "/events/0/rating"),
        ({"domain": "elsewhere"}, "/events/0/domain"),
    ],
)
def test_one_bad_event_refuses_the_request_and_nothing_is_kept(
    client: httpx.Client, change: dict[str, Any], pointer: str
) -> None:
    good = {"event_id": "1", "user_id": "never kept", "item_id": "s00003", "rating": 5}
    response = client.post("/v1/events", json={"events": [good | change, good]})
    found = ProblemBody.model_validate_json(response.content)
    assert (response.status_code, found.errors[0].pointer) == (422, pointer)
    assert ask(client, user_id="never kept")["strategy"] == "popular"


def test_how_many_events_a_request_may_have(client: httpx.Client) -> None:
    one = {"user_id": "many", "item_id": "s00003", "rating": 5}
    for count, status in ((0, 422), (1000, 200), (1001, 422)):
        body = {"events": [one | {"event_id": str(number)} for number in range(count)]}
        assert client.post("/v1/events", json=body).status_code == status


def test_without_a_place_for_state_events_are_refused_and_strangers_answered(bundle_path: Path, tmp_path: Path) -> None:
    with serving(bundle_path, state_url=f"unix://{tmp_path / 'nothing.sock'}") as client:
        refused = client.post("/v1/events", json={"events": events("new")})
        assert ProblemBody.model_validate_json(refused.content).code == "state_unavailable"
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert ask(client, user_id="new")["strategy"] == "popular"


TARGET_RATINGS = [("t00003", 5.0), ("t00007", 1.0)]
TARGET_HISTORY = [{"item_id": item, "rating": rating} for item, rating in TARGET_RATINGS]


def send_targets(client: httpx.Client, *users: str) -> None:
    body = [
        {"event_id": f"t{number}", "user_id": user, "item_id": item, "rating": rating, "domain": "target"}
        for user in users
        for number, (item, rating) in enumerate(TARGET_RATINGS)
    ]
    response = client.post("/v1/events", json={"events": body})
    assert response.status_code == 200, response.text


def test_target_ratings_move_everybody_s_list_as_if_they_came_with_the_request(
    bundle_path: Path, state_url: str
) -> None:
    users = ("u02500", "u00003", "v00001", "nobody")
    with serving(bundle_path, state_url=state_url) as client:
        before = {user: said(ask(client, user_id=user)) for user in users}
        expected = {user: said(ask(client, user_id=user, target_history=TARGET_HISTORY)) for user in users}
        send_targets(client, *users)
        for user in users:
            found = said(ask(client, user_id=user))
            assert found == expected[user]
            assert found != before[user]
            assert found[:2] == ("warm", None)
            assert not {item for item, _ in TARGET_RATINGS} & {item["item_id"] for item in found[2]}
        # Ratings in the request come before those in the store.
        other = [{"item_id": "t00011", "rating": 5.0}]
        assert said(ask(client, user_id="nobody", target_history=other)) == said(ask(client, target_history=other))
        # Both kinds of a newcomer's ratings are put to use together.
        send(client, "nobody")
        both = said(ask(client, history=HISTORY, target_history=TARGET_HISTORY))
        assert said(ask(client, user_id="nobody")) == both


def test_target_ratings_are_gone_with_an_erasure_and_unused_after_an_opt_out(bundle_path: Path, state_url: str) -> None:
    with serving(bundle_path, state_url=state_url) as client:
        send_targets(client, "out", "gone")
        assert client.put("/v1/users/out/opt-out").status_code < 300
        assert client.delete("/v1/users/gone").status_code < 300
        for user in ("out", "gone"):
            assert said(ask(client, user_id=user))[:2] == ("popular", "opted_out")
            body = {"event_id": "t9", "user_id": user, "item_id": "t00001", "rating": 1, "domain": "target"}
            answer = client.post("/v1/events", json={"events": [body]}).json()
            assert [each["code"] for each in answer["rejected"]] == ["opted_out"]
