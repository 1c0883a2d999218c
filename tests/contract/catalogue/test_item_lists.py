"""Uploaded lists are the same filter as their items, on every address and replica, and an unknown one is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.serving import serving
from tests.waiting import until

ITEMS = ["t00003", "t00011", "t00012", "t00040", "t00041", "no such item"]
NAMED: dict[str, Any] = {"list": "summer"}


def every_answer(client: httpx.Client, filter: dict[str, Any]) -> dict[str, Any]:
    """A list, or the code and place of a refusal, by address."""
    text = {"k": "80", "filter": json.dumps(filter)}
    person = {"user_id": "u00020", "k": 80, "filter": filter}
    answers = {
        "personal": client.post("/v1/recommendations", json=person).json(),
        "fallback": client.get("/v1/users/nobody/recommendations", params=text).json(),
        "batch": json.loads(client.post("/v1/recommendations/batch", json=[person]).text),
        "popular": client.get("/v1/items/popular", params=text).json(),
        "similar": client.get("/v1/items/t00003/similar", params=text).json(),
    }
    found: dict[str, Any] = {}
    for name, answer in answers.items():
        refused = answer.get("error", answer)
        if "items" in answer:
            found[name] = [item["item_id"] for item in answer["items"]]
        else:
            found[name] = refused["status"], refused["errors"][0]["pointer"].removeprefix("/query")
    return found


def test_a_list_is_the_filter_of_its_items_in_every_replica_until_it_is_replaced_or_deleted(
    replicas: tuple[httpx.Client, httpx.Client],
) -> None:
    one, other = replicas
    assert set(every_answer(one, NAMED).values()) == {(422, "/filter/list")}
    assert one.put("/v1/lists/summer", json={"items": [*ITEMS, *ITEMS]}).status_code == 204
    assert every_answer(one, NAMED) == every_answer(one, {"items": ITEMS})
    assert every_answer(one, {**NAMED, "items": ITEMS[1:3]}) == every_answer(one, {"items": ITEMS[1:3]})
    until(lambda: every_answer(other, NAMED) == every_answer(other, {"items": ITEMS}))
    assert other.get("/v1/lists/summer").json() == {"name": "summer", "count": len(ITEMS), "items": ITEMS}
    assert other.get("/v1/lists").json() == {"lists": ["summer"]}
    assert other.put("/v1/lists/summer", json={"items": []}).status_code == 204
    assert set(map(tuple, every_answer(other, NAMED).values())) == {()}
    until(lambda: every_answer(one, NAMED) == every_answer(other, NAMED))
    for _ in range(2):
        assert one.delete("/v1/lists/summer").status_code == 204
    assert set(every_answer(one, NAMED).values()) == {(422, "/filter/list")}
    assert one.get("/v1/lists/summer").status_code == 404


def test_what_cannot_be_a_list_is_one_problem(replicas: tuple[httpx.Client, httpx.Client]) -> None:
    one, _ = replicas
    for body, pointer in (
        ({"items": ["x"] * 100_001}, "/items"),
        ({"items": [""]}, "/items/0"),
        ({}, "/items"),
        ({"items": [], "more": 1}, "/more"),
    ):
        refused = one.put("/v1/lists/long", json=body)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, pointer)
    assert one.put("/v1/lists/-", json={"items": []}).status_code == 422
    assert one.post("/v1/recommendations", json={"user_id": "u00020", "filter": {"list": "a b"}}).status_code == 422
    unknown = one.post("/v1/recommendations", json={"user_id": "u00020", "filter": {"list": "nope"}}).json()
    assert "there is no list 'nope'; PUT /v1/lists/nope uploads it" in unknown["detail"]
    assert one.get("/v1/lists").json() == {"lists": []}


def test_there_is_a_most_number_of_lists(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.routes.catalogue.item_lists.MAX_LISTS", 2)
    with serving(bundle, state_url=f"sqlite:{tmp_path / 's'}") as client:
        codes = [client.put(f"/v1/lists/{name}", json={"items": ["a"]}).status_code for name in ("a", "b", "c", "a")]
        assert codes == [204, 204, 409, 204]


def test_no_list_is_believed_while_the_state_cannot_be_read(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("this is no database, and never was one")
    with serving(bundle, state_url=f"sqlite:{tmp_path / 'state'}") as client:
        body = {"user_id": "u00020", "filter": {"list": "summer", "available": False}}
        answers = [
            client.post("/v1/recommendations", json=body),
            client.get("/v1/lists/summer"),
            client.get("/v1/lists"),
            client.put("/v1/lists/summer", json={"items": ["t00001"]}),
        ]
        assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(503, "state_unavailable")}
