"""``explain`` over HTTP: shares that add up, on every path, and of nobody who is not to be told of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from service.routes.lists.batch_stream import EXPLAINED_AT_ONCE
from service.schemas import BatchLine, RecommendationAnswer
from tests.bundles import write_bundle
from tests.serving import gated_model, serving

ADDRESS, USER, STRANGER = "/v1/recommendations", "u02500", "somebody new"
HISTORY = [{"item_id": "s00003", "rating": 5}, {"item_id": "s00009", "rating": 1.5}]


@pytest.fixture(scope="module")
def remembering(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service that remembers what people send."""
    with serving(bundle_path, state_url=f"sqlite:{tmp_path_factory.mktemp('state') / 'state.sqlite'}") as client:
        yield client


def explained(client: httpx.Client, **body: Any) -> dict[str, Any]:
    response = client.post(ADDRESS, json={"explain": True, **body})
    RecommendationAnswer.model_validate_json(response.content)
    answer: dict[str, Any] = response.json()
    return answer


def total(explanation: dict[str, Any]) -> float:
    named = sum(source["share"] for source in explanation["sources"])
    return float(named + sum(value for name, value in explanation.items() if name != "sources"))


def sources(answer: dict[str, Any]) -> set[str]:
    return {source["item_id"] for item in answer["items"] for source in item["explanation"]["sources"]}


@pytest.mark.parametrize(
    "body",
    [
        {"user_id": USER},
        {"user_id": "u00003"},
        {"user_id": "v00001"},
        {"history": HISTORY, "k": 7},
        {"user_id": USER, "k": 10, "offset": 10, "diversity": 0.3},
        {"user_id": USER, "target_history": [{"item_id": "t00007", "rating": 4}]},
    ],
)
def test_shares_add_up_to_the_score_by_body_by_address_and_in_a_batch(
    client: httpx.Client, body: dict[str, Any]
) -> None:
    answer = explained(client, **body)
    assert answer["unexplained_reason"] is None
    for item in answer["items"]:
        assert total(item["explanation"]) == pytest.approx(item["score"], abs=1e-9)
    line = client.post(f"{ADDRESS}/batch", json=[{"explain": True, **body}]).text
    BatchLine.model_validate_json(line)
    assert json.loads(line)["items"] == answer["items"]
    if body.keys() <= {"user_id", "k", "offset", "diversity"}:
        options = {name: value for name, value in body.items() if name != "user_id"} | {"explain": "true"}
        assert (
            client.get(f"/v1/users/{body['user_id']}/recommendations", params=options).json()["items"]
            == answer["items"]
        )
    plain = client.post(ADDRESS, json=body).json()
    assert [item | {"explanation": None} for item in plain["items"]] == [
        item | {"explanation": None} for item in answer["items"]
    ]
    assert "unexplained_reason" not in plain
    assert all("explanation" not in item for item in plain["items"])


def test_named_are_items_of_the_history_that_a_look_up_tells(client: httpx.Client) -> None:
    told = client.get(f"/v1/users/{USER}/history").json()["items"]
    named = [source for item in explained(client, user_id=USER)["items"] for source in item["explanation"]["sources"]]
    assert named
    assert all({name: source[name] for name in ("item_id", "title", "rating")} in told for source in named)


def test_ratings_sent_as_events_are_named(remembering: httpx.Client) -> None:
    events = [{"event_id": str(n), "user_id": STRANGER, **rating} for n, rating in enumerate(HISTORY)]
    assert remembering.post("/v1/events", json={"events": events}).is_success
    answer = explained(remembering, user_id=STRANGER)
    assert (answer["strategy"], sources(answer)) == ("fold_in", {"s00003", "s00009"})


@pytest.mark.parametrize("end", ["opt out", "erase"])
def test_nothing_is_explained_by_the_history_of_who_opted_out_or_was_erased(
    remembering: httpx.Client, end: str
) -> None:
    user = "u02501" if end == "erase" else "u02502"
    assert sources(explained(remembering, user_id=user))
    address = f"/v1/users/{user}"
    assert (remembering.delete(address) if end == "erase" else remembering.put(f"{address}/opt-out")).is_success
    bodies: list[dict[str, Any]] = [{}, {"history": HISTORY}, {"target_history": [{"item_id": "t00007", "rating": 4}]}]
    for body in bodies:
        answer = explained(remembering, user_id=user, **body)
        assert (answer["fallback_reason"], answer["unexplained_reason"]) == ("opted_out", "not_personal")
        assert all(item["explanation"] is None for item in answer["items"])


def test_a_bundle_without_histories_tells_none(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", objective="ranking", neighbours=True)
    with serving(tmp_path / "bundle") as client:
        answer = explained(client, user_id="u00030")
        assert (answer["strategy"], answer["unexplained_reason"]) == ("transfer", "no_histories")
        assert all(item["explanation"] is None for item in answer["items"])
        assert client.get("/v1/users/u00030/history").status_code == 404
        assert sources(explained(client, history=HISTORY)) == {"s00003", "s00009"}


def test_a_batch_of_many_explained_lists_is_answered_in_order_and_a_few_at_a_time(bundle_path: Path) -> None:
    model, gate = gated_model(bundle_path)
    users = [f"u{number:05d}" for number in range(2000, 2060)]
    entries = [{"user_id": user, "k": 3, "explain": number % 3 > 0} for number, user in enumerate(users)]
    with serving(bundle_path, model=model) as client:
        lines = client.post(f"{ADDRESS}/batch", json=[{"k": 0}, *entries]).text.splitlines()
    answers = [json.loads(line) for line in lines]
    assert [answer["index"] for answer in answers] == list(range(61))
    assert answers[0]["error"]["status"] == 422
    assert [answer["user_id"] for answer in answers[1:]] == users
    assert [all("explanation" in item for item in answer["items"]) for answer in answers[1:]] == [
        entry["explain"] for entry in entries
    ]
    costly = {str(entry["user_id"]) for entry in entries if entry["explain"]}
    # One part computes, or waits, while the next is asked.
    assert 1 <= max(sum(user in costly for user in call) for call in gate.calls) <= 2 * EXPLAINED_AT_ONCE < len(costly)


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_what_is_no_truth_value_is_refused(client: httpx.Client, value: Any) -> None:
    response = client.post(ADDRESS, json={"user_id": USER, "explain": value})
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/explain"
