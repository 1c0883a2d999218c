"""What comes back of a list: events of all types, and the ids that they name."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from service.edge.problems import ProblemBody
from tests.serving import metric, serving

USERS = count()
KEY = "0123456789abcdef0123456789abcdef"  # pragma: allowlist secret


@pytest.fixture(params=["sqlite", "redis"])
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    return f"sqlite:{tmp_path / 'state.sqlite'}"


@pytest.fixture(scope="module")
def client(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    state = tmp_path_factory.mktemp("feedback") / "state.sqlite"
    with serving(bundle_path, state_url=f"sqlite:{state}", event_weights="stroll=0.5", feedback_key=KEY) as client:
        yield client


def ask(client: httpx.Client, user: str, **options: Any) -> dict[str, Any]:
    answer: dict[str, Any] = client.post("/v1/recommendations", json={"user_id": user, **options}).json()
    return answer


def event(number: int, user: str, kind: str, item: str, **more: Any) -> dict[str, Any]:
    return {"event_id": f"{kind}{number}", "user_id": user, "type": kind, "item_id": item, **more}


def send(client: httpx.Client, *events: dict[str, Any]) -> httpx.Response:
    return client.post("/v1/events", json={"events": list(events)})


def test_a_purchase_moves_the_list_as_the_best_rating_and_a_click_does_not(bundle_path: Path, state_url: str) -> None:
    with serving(bundle_path, state_url=state_url) as client:
        before = ask(client, "u02500")
        first, second = before["items"][:2]
        named = {"recommendation_id": before["recommendation_id"]}
        shown = [event(n, "u02500", "impression", item["item_id"], **named) for n, item in enumerate(before["items"])]
        clicked = event(0, "u02500", "click", first["item_id"], position=1, **named)
        assert send(client, *shown, clicked).json()["accepted"] == len(shown) + 1
        assert ask(client, "u02500")["items"] == before["items"]
        bought = event(0, "u02500", "purchase", second["item_id"], position=2, **named)
        assert send(client, bought).json()["accepted"] == 1
        rated = [{"item_id": second["item_id"], "rating": 5.0}]
        expected = ask(client, "u02500", target_history=rated)
        found = ask(client, "u02500")
        assert found["items"] == expected["items"] != before["items"]
        assert found["strategy"] == "warm"
        assert metric(client, "diffcdr_events_total", outcome="accepted", type="impression") == len(shown)
        assert metric(client, "diffcdr_events_total", outcome="accepted", type="purchase") == 1


def test_a_weight_says_how_far_up_the_scale_a_type_counts(client: httpx.Client) -> None:
    assert send(client, event(1, "u02501", "stroll", "t00007", domain="target")).json()["accepted"] == 1
    half_way = [{"item_id": "t00007", "rating": 3.0}]
    assert ask(client, "u02501")["items"] == ask(client, "u02501", target_history=half_way)["items"]
    # A rating that comes along counts as it is.
    assert send(client, event(2, "u02502", "stroll", "t00007", domain="target", rating=2.0)).json()["accepted"] == 1
    expected = ask(client, "u02502", target_history=[{"item_id": "t00007", "rating": 2.0}])
    assert ask(client, "u02502")["items"] == expected["items"]


@pytest.mark.parametrize(
    ("change", "pointer", "words"),
    [
        ({"type": "glance"}, "/events/1/type", "DIFFCDR_EVENT_WEIGHTS"),
        ({"type": "rating"}, "/events/1/rating", "needs a rating"),
        ({"timestamp": 9_000_000_000}, "/events/1/timestamp", "in the future"),
        ({"timestamp": 1_000}, "/events/1/timestamp", "before the list"),
        ({"user_id": "other"}, "/events/1/recommendation_id", "another user"),
        ({"recommendation_id": "A" * 60}, "/events/1/recommendation_id", "did not issue this id"),
        ({"recommendation_id": "short"}, "/events/1/recommendation_id", "pattern"),
        ({"position": 0}, "/events/1/position", "greater"),
    ],
)
def test_one_wrong_event_is_one_clear_problem_and_nothing_is_taken(
    client: httpx.Client, change: dict[str, Any], pointer: str, words: str
) -> None:
    user = f"u028{next(USERS):02d}"
    good = event(0, user, "purchase", "t00007", recommendation_id=ask(client, user)["recommendation_id"])
    before = ask(client, user)["items"]
    response = send(client, good, {**good, "event_id": "2", **change})
    found = ProblemBody.model_validate_json(response.content)
    assert (response.status_code, found.code, found.errors[0].pointer) == (422, "invalid_request", pointer)
    assert words in found.errors[0].detail
    assert ask(client, user)["items"] == before
    assert send(client, {**good, "timestamp": None}).json()["accepted"] == 1


def test_all_that_is_wrong_is_told_at_once(client: httpx.Client) -> None:
    wrong = [event(n, "u02600", "glance", "t00007") for n in range(30)]
    found = ProblemBody.model_validate_json(send(client, *wrong).content)
    assert [error.pointer for error in found.errors] == [f"/events/{n}/type" for n in range(20)]
    assert "29 more" in found.detail


def test_a_stale_id_is_refused_and_an_event_that_came_late_is_not(bundle_path: Path, tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'state.sqlite'}"
    with serving(bundle_path, state_url=url, feedback_key=KEY, attribution_hours=1e-9) as client:
        answer = ask(client, "u02500")
        click = event(0, "u02500", "click", "t00007", recommendation_id=answer["recommendation_id"])
        found = ProblemBody.model_validate_json(send(client, click).content)
        assert found.errors[0].pointer == "/events/0/recommendation_id"
        assert "older than the 1e-09 hours" in found.errors[0].detail and "without it" in found.errors[0].detail
        assert send(client, {**click, "recommendation_id": None}).json()["accepted"] == 1
    # Another replica, or the same after a restart, believes the id; when it was says the sender.
    with serving(bundle_path, state_url=url, feedback_key=KEY) as client:
        assert send(client, {**click, "event_id": "2"}).json()["accepted"] == 1
    with serving(bundle_path, state_url=url) as client:
        refused = ProblemBody.model_validate_json(send(client, {**click, "event_id": "3"}).content)
        assert "its key has changed" in refused.detail


def test_ids_personalise_nobody_who_opted_out(bundle_path: Path, state_url: str) -> None:
    with serving(bundle_path, state_url=state_url, feedback_key=KEY) as client:
        before = ask(client, "u02500")["recommendation_id"]
        assert client.put("/v1/users/u02500/opt-out").status_code == 204
        bought = event(0, "u02500", "purchase", "t00007", recommendation_id=before)
        answer = send(client, bought).json()
        assert (answer["accepted"], [one["code"] for one in answer["rejected"]]) == (0, ["opted_out"])
        popular = ask(client, "u02500")
        assert popular["fallback_reason"] == "opted_out"
        # Whose list it was is not in the id of an impersonal one: it fits everybody.
        other = event(1, "u02501", "click", "t00007", recommendation_id=popular["recommendation_id"])
        assert send(client, other).json()["accepted"] == 1
