"""An item that is withdrawn is in no list, anywhere, within a second; and back when it is back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.serving import serving
from tests.waiting import until


def every_list(client: httpx.Client, filter: dict[str, Any] | None = None) -> dict[str, list[str]]:
    text = {} if filter is None else {"filter": json.dumps(filter)}
    body = {} if filter is None else {"filter": filter}
    person = {"user_id": "u00020", **body}
    batch = client.post("/v1/recommendations/batch", json=[{**person, "k": 80}]).text
    answers = {
        "personal": client.post("/v1/recommendations", json={**person, "k": 80}).json(),
        "diverse": client.post("/v1/recommendations", json={**person, "k": 16, "diversity": 0.4}).json(),
        "fallback": client.get("/v1/users/nobody/recommendations", params={"k": 80, **text}).json(),
        "batch": json.loads(batch),
        "popular": client.get("/v1/items/popular", params={"k": 80, **text}).json(),
        "similar": client.get("/v1/items/t00003/similar", params={"k": 80, **text}).json(),
    }
    return {name: [item["item_id"] for item in answer["items"]] for name, answer in answers.items()}


def test_what_is_withdrawn_is_in_no_list_of_any_replica_until_it_is_back(
    replicas: tuple[httpx.Client, httpx.Client],
) -> None:
    one, other = replicas
    before = every_list(one)
    gone = {before[name][0] for name in before}
    changes = [{"item_id": item, "available": False} for item in [*sorted(gone), "mistyped"]]
    answer = one.put("/v1/items", json={"items": changes})
    assert (answer.status_code, answer.json()["changed"]) == (200, len(gone) + 1)
    assert answer.json()["unknown"] == ["mistyped"]
    for name, left in every_list(one).items():
        whole = [item for item in before[name] if item not in gone]
        assert left == whole if name != "diverse" else not gone & set(left), name
    until(lambda: not any(gone & set(items) for items in every_list(other).values()))
    assert gone & set(every_list(one, {"available": False})["personal"])
    seen = one.get(f"/v1/items/{min(gone)}").json()
    assert (seen["available"], seen["attributes"]) == (False, {})
    for item in gone:
        assert other.put(f"/v1/items/{item}", json={"available": None}).status_code == 204
    assert every_list(other) == before
    until(lambda: every_list(one) == before)


def test_tags_are_changed_and_filtered_by_at_once(replicas: tuple[httpx.Client, httpx.Client]) -> None:
    one, _ = replicas
    sale = {"where": {"tags": {"any": ["sale"]}}}
    assert every_list(one, sale)["personal"] == []
    assert one.put("/v1/items/t00005", json={"tags": ["sale", "gift"]}).status_code == 204
    assert one.put("/v1/items/t00006", json={"tags": ["sale"], "available": False}).status_code == 204
    assert {tuple(items) for items in every_list(one, sale).values()} == {("t00005",)}
    assert one.get("/v1/items/t00005").json()["attributes"] == {"tags": ["sale", "gift"]}
    assert one.put("/v1/items/t00006", json={"available": True}).status_code == 204
    assert sorted(every_list(one, sale)["popular"]) == ["t00005", "t00006"]
    # Of one item what is said later counts, and what is not said again stays.
    back = [{"item_id": item, "tags": None} for item in ("t00005", "t00006")]
    back += [{"item_id": "t00006", "available": False}, {"item_id": "t00006", "available": None}]
    assert one.put("/v1/items", json={"items": back}).status_code == 200
    assert every_list(one, sale)["personal"] == []


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/v1/items/t00001", {}, "give available, tags or both"),
        ("/v1/items/t00001", {"available": "no"}, "/available"),
        ("/v1/items/t00001", {"tags": [""]}, "/tags/0"),
        ("/v1/items", {"items": []}, "/items"),
        ("/v1/items", {"items": [{"item_id": "a", "available": True}] * 10_001}, "10000"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    replicas: tuple[httpx.Client, httpx.Client], path: str, body: dict[str, Any], said: str
) -> None:
    refused = replicas[0].put(path, json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert said in refused.json()["detail"]


def test_it_takes_a_key_that_may_write(bundle: Path, tmp_path: Path) -> None:
    reader = "read:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
    with serving(bundle, api_keys=reader, state_url=f"sqlite:{tmp_path / 's'}") as client:
        told = {"Authorization": "Bearer foo"}
        assert client.get("/v1/items/t00001", headers=told).status_code == 200
        for path, body in (("/v1/items/t00001", {"available": False}), ("/v1/items", {"items": []})):
            assert client.put(path, json=body, headers=told).status_code == 403
            assert client.put(path, json=body).status_code == 401


def test_no_list_holds_an_item_while_nobody_can_tell_what_was_withdrawn(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("this is no database, and never was one")
    with serving(bundle, state_url=f"sqlite:{tmp_path / 'state'}") as client:
        assert set(map(tuple, every_list(client).values())) == {()}
        answer = client.post("/v1/recommendations", json={"user_id": "u00020"}).json()
        assert (answer["strategy"], answer["empty_reason"]) == ("popular", "availability_unknown")
        assert client.get("/v1/items/t00001").status_code == 503
        refused = client.put("/v1/items/t00001", json={"available": False})
        assert (refused.status_code, refused.json()["code"]) == (503, "state_unavailable")
