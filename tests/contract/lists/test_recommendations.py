from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from diffcdr.bundle.reader import open_bundle
from diffcdr.recommend.recommender import Query, Recommendation, Recommender
from service.schemas import RecommendationAnswer

ADDRESS = "/v1/recommendations"


@pytest.fixture(scope="module")
def recommender(bundle_path: Path) -> Recommender:
    return Recommender(open_bundle(bundle_path))


def post(client: httpx.Client, **body: Any) -> dict[str, Any]:
    response = client.post(ADDRESS, json=body)
    assert response.status_code == 200, response.text
    RecommendationAnswer.model_validate_json(response.content)
    answer: dict[str, Any] = response.json()
    return answer


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


@pytest.mark.parametrize(
    ("body", "query"),
    [
        ({"user_id": "u02500"}, Query("u02500")),
        ({"user_id": "u00003", "k": 7}, Query("u00003", k=7)),
        ({"user_id": "u02500", "k": 7.0}, Query("u02500", k=7)),
        ({"user_id": "u00003", "exclude_seen": False, "k": 100}, Query("u00003", k=100, exclude_seen=False)),
        ({"user_id": "v00001", "k": 5}, Query("v00001", k=5)),
        ({"user_id": "u02500", "diversity": 0.3}, Query("u02500", diversity=0.3)),
        ({"user_id": "u02500", "diversity": 0}, Query("u02500")),
        ({"user_id": "u02500", "exclude_items": ["t00007", "nowhere"]}, Query("u02500", exclude_items=("t00007",))),
        (
            {"history": [{"item_id": "s00003", "rating": 5}, {"item_id": "s00009", "rating": 1.5}]},
            Query(None, history=(("s00003", 5.0), ("s00009", 1.5))),
        ),
        ({"user_id": "nobody", "k": 3}, Query("nobody", k=3)),
        (
            {"user_id": "nobody", "history": [{"item_id": "nothing", "rating": 5}]},
            Query("nobody", history=(("x", 5.0),)),
        ),
    ],
)
def test_http_answers_what_the_recommender_answers(
    client: httpx.Client, recommender: Recommender, body: dict[str, Any], query: Query
) -> None:
    expected = recommender.answer([query])[0]
    assert isinstance(expected, Recommendation)
    answer = post(client, **body)
    assert ids(answer) == expected.item_ids
    assert [item["score"] for item in answer["items"]] == expected.scores
    assert [item.get("title") for item in answer["items"]] == expected.titles
    assert [item["rank"] for item in answer["items"]] == list(range(1, len(expected.item_ids) + 1))
    assert (answer["strategy"], answer["fallback_reason"]) == (expected.strategy, expected.fallback_reason)
    assert answer["bundle"] == recommender.bundle.id


def test_an_unknown_user_gets_the_popular_list_labelled_so(client: httpx.Client) -> None:
    answer = post(client, user_id="nobody", k=10)
    assert (answer["strategy"], answer["fallback_reason"]) == ("popular", "unknown_user")
    popular = client.get("/v1/items/popular", params={"k": 10}).json()
    assert answer["items"] == popular["items"]


def test_exclusions_hold_on_every_path(client: httpx.Client) -> None:
    for who in ({"user_id": "u02500"}, {"user_id": "u00003"}, {"user_id": "nobody"}):
        first = ids(post(client, **who, k=5))
        rest = ids(post(client, **who, k=5, exclude_items=first[:3]))
        assert not set(first[:3]) & set(rest)
        assert rest[:2] == first[3:]


def test_get_answers_what_post_answers(client: httpx.Client) -> None:
    response = client.get(
        "/v1/users/u02500/recommendations",
        params={"k": 4, "exclude_items": ["t00001", "t00002"], "exclude_seen": False, "diversity": 0.4},
    )
    assert response.status_code == 200
    wanted = {"k": 4, "exclude_items": ["t00001", "t00002"], "exclude_seen": False}
    assert response.json()["items"] == post(client, user_id="u02500", **wanted, diversity=0.4)["items"]
    assert response.json()["items"] != post(client, user_id="u02500", **wanted)["items"]


def test_an_id_with_a_slash_has_an_address(client: httpx.Client) -> None:
    response = client.get("/v1/users/a%2Fb/recommendations")
    assert (response.status_code, response.json()["fallback_reason"]) == (200, "unknown_user")


def test_more_than_there_is_gives_what_there_is(client: httpx.Client) -> None:
    everything = [f"t{row:05d}" for row in range(200)]
    answer = post(client, user_id="u02500", k=50, exclude_items=everything[30:])
    assert sorted(ids(answer)) == everything[:30]
    assert ids(post(client, user_id="u02500", exclude_items=everything)) == []


def test_a_request_id_is_taken_made_and_given_back(client: httpx.Client) -> None:
    given = client.post(ADDRESS, json={"user_id": "u1"}, headers={"X-Request-ID": "caller-7"})
    assert given.headers["x-request-id"] == given.json()["request_id"] == "caller-7"
    for strange in ("", "two words", "x" * 200, '"quoted"'):
        made = client.post(ADDRESS, json={"user_id": "u1"}, headers={"X-Request-ID": strange})
        assert len(made.headers["x-request-id"]) == 32
        assert made.headers["x-request-id"] == made.json()["request_id"]


def test_a_trace_is_carried_on(client: httpx.Client) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert client.get("/livez", headers={"traceparent": trace}).headers["traceparent"] == trace
    assert "traceparent" not in client.get("/livez", headers={"traceparent": "nonsense"}).headers


def test_the_answer_says_where_the_time_went(client: httpx.Client) -> None:
    parts = client.post(ADDRESS, json={"user_id": "u00042"}).headers["server-timing"].split(", ")
    assert [part.partition(";dur=")[0] for part in parts] == ["queue", "engine", "transfer", "topk"]
    assert all(float(part.partition(";dur=")[2]) >= 0 for part in parts)


def test_many_clients_at_once_each_get_their_own(client: httpx.Client) -> None:
    users = [f"u{row:05d}" for row in range(0, 3000, 37)]
    alone = [post(client, user_id=user)["items"] for user in users]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda user: post(client, user_id=user)["items"], users))
    assert together == alone


def test_a_batch_of_many_equals_batches_of_one(client: httpx.Client) -> None:
    users = [f"u{row:05d}" for row in range(0, 3000, 91)]
    body = "".join(json.dumps({"user_id": user}) + "\n" for user in users)
    response = client.post(f"{ADDRESS}/batch", content=body, headers={"Content-Type": "application/x-ndjson"})
    together = [json.loads(line)["items"] for line in response.text.splitlines()]
    assert together == [post(client, user_id=user)["items"] for user in users]


def test_a_model_can_be_named(client: httpx.Client, recommender: Recommender) -> None:
    named = post(client, user_id="u02500", model=recommender.bundle.id)
    assert named["items"] == post(client, user_id="u02500")["items"]


def test_every_list_has_an_id_of_its_own_and_stays_the_same_list(client: httpx.Client) -> None:
    first, second = (client.post("/v1/recommendations", json={"user_id": "u02500"}).json() for _ in range(2))
    by_address = client.get("/v1/users/u02500/recommendations").json()
    popular = client.post("/v1/recommendations", json={"user_id": "nobody"}).json()
    ids = [answer.pop("recommendation_id") for answer in (first, second, by_address, popular)]
    assert {len(one) for one in ids} == {60}
    assert first["items"] == second["items"] == by_address["items"]
    assert popular["strategy"] == "popular"
    # One popular list for everybody, which caches may keep: its id and its ETag change together, every hour.
    shown = client.get("/v1/items/popular")
    again = client.get("/v1/items/popular", headers={"If-None-Match": shown.headers["etag"]})
    assert len(shown.json()["recommendation_id"]) == 60
    assert again.status_code == 304 or again.json()["recommendation_id"] != shown.json()["recommendation_id"]
