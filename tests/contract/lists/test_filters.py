"""Filters over HTTP: the same lists as in Python, on every address; and what cannot be asked, said with its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from diffcdr.bundle.reader import open_bundle
from diffcdr.recommend.recommender import Recommender
from tests.bundles import write_bundle
from tests.serving import serving

CRIME: dict[str, Any] = {"where": {"genre": {"any": ["crime"]}, "price": {"lte": 1.5}}}
NONE: dict[str, Any] = {"where": {"genre": {"any": ["none such"]}}}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filtered") / "bundle"
    write_bundle(path, items=300, attributes=True)
    write_bundle(path.with_name("other"), items=300, attributes=("genre", "price"), seed=1)
    return path


@pytest.fixture(scope="module")
def client(bundle: Path) -> Iterator[httpx.Client]:
    with serving(bundle) as client:
        yield client


@pytest.fixture(scope="module")
def recommender(bundle: Path) -> Recommender:
    return Recommender(open_bundle(bundle), device="cpu")


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def ask(client: httpx.Client, **body: Any) -> httpx.Response:
    return client.post("/v1/recommendations", json={"user_id": "u00020", "k": 9, **body})


def test_every_address_gives_the_list_that_python_gives(client: httpx.Client, recommender: Recommender) -> None:
    text = json.dumps(CRIME)
    for user in ("u00020", "u00001", "nobody"):
        wanted = recommender.recommend(user, k=9, filter=CRIME).item_ids
        assert len(wanted) == 9
        assert ids(ask(client, user_id=user, filter=CRIME)) == wanted
        assert ids(client.get(f"/v1/users/{user}/recommendations", params={"k": 9, "filter": text})) == wanted
    popular = client.get("/v1/items/popular", params={"k": 9, "filter": text})
    assert ids(popular) == wanted and popular.headers["etag"]
    pages = [ids(ask(client, k=3, offset=offset, filter=CRIME)) for offset in (0, 3, 6)]
    assert sum(pages, []) == recommender.recommend("u00020", k=9, filter=CRIME).item_ids
    diverse = recommender.recommend("u00020", k=9, filter=CRIME, diversity=0.5).item_ids
    assert ids(ask(client, filter=CRIME, diversity=0.5)) == diverse
    batch = [
        {"user_id": "u00020", "k": 9, "filter": CRIME},
        {"user_id": "u00020", "k": 9, "filter": {"where": {"x": {"eq": 1}}}},
    ]
    first, second = (
        json.loads(line) for line in client.post("/v1/recommendations/batch", json=batch).text.splitlines()
    )
    assert [item["item_id"] for item in first["items"]] == recommender.recommend("u00020", k=9, filter=CRIME).item_ids
    assert (second["error"]["code"], second["error"]["errors"][0]["pointer"]) == ("invalid_request", "/filter/where/x")


def test_similar_items_are_filtered_too(client: httpx.Client, recommender: Recommender) -> None:
    everything = client.get("/v1/items/t00004/similar", params={"k": 300, "filter": '{"available": false}'})
    filtered = client.get("/v1/items/t00004/similar", params={"k": 5, "filter": json.dumps(CRIME)})
    items = recommender.bundle.target_items
    kept = []
    for item in ids(everything):
        known = items.attributes.of(items.ids.row(item))
        price = known.get("price")
        if "crime" in known.get("genre", []) and price is not None and price <= 1.5 and known.get("available", True):
            kept.append(item)
    assert ids(filtered) == kept[:5] and len(kept) >= 5
    nothing = client.get("/v1/items/t00004/similar", params={"filter": json.dumps(NONE)}).json()
    assert (nothing["items"], nothing["empty_reason"]) == ([], "no_item_allowed")
    refused = client.get("/v1/items/s00001/similar", params={"domain": "source", "filter": json.dumps(CRIME)})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/query/filter")


def test_every_address_keeps_to_the_caps(client: httpx.Client, recommender: Recommender) -> None:
    caps = {"genre": 1, "language": 3}
    for user in ("u00020", "u00001", "nobody"):
        wanted = recommender.recommend(user, k=9, caps=caps).item_ids
        assert wanted != recommender.recommend(user, k=9).item_ids
        assert ids(ask(client, user_id=user, caps=caps)) == wanted
        by_address = {"k": 9, "caps": json.dumps(caps)}
        assert ids(client.get(f"/v1/users/{user}/recommendations", params=by_address)) == wanted
    assert ids(client.get("/v1/items/popular", params=by_address)) == wanted
    pages = [ids(ask(client, k=3, offset=offset, caps=caps)) for offset in (0, 3, 6)]
    assert sum(pages, []) == ids(ask(client, caps=caps))
    batch = [{"user_id": "u00020", "caps": caps, "k": 9}, {"user_id": "u00020", "caps": {"x": 1}}]
    first, second = map(json.loads, client.post("/v1/recommendations/batch", json=batch).text.splitlines())
    assert [item["item_id"] for item in first["items"]] == ids(ask(client, caps=caps))
    assert second["error"]["errors"][0]["pointer"] == "/caps/x"
    for caps, pointer in (({"x": 1}, "/caps/x"), ({"genre": 0}, "/caps/genre"), (dict.fromkeys("abcde", 1), "/caps")):
        refused = ask(client, caps=caps)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, pointer)
        refused = client.get("/v1/users/u00020/recommendations", params={"caps": json.dumps(caps)})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
        assert pointer[1:] in refused.json()["detail"]


def test_what_an_empty_list_means_is_said(client: httpx.Client) -> None:
    some = ["t00001", "t00002"]
    assert "empty_reason" not in ask(client).json()
    assert ask(client, filter=NONE).json()["empty_reason"] == "no_item_allowed"
    assert ask(client, filter={"items": some}, exclude_items=some).json()["empty_reason"] == "all_excluded"
    assert ask(client, filter={"items": some}, offset=100).json()["empty_reason"] == "past_the_end"
    popular = client.get("/v1/items/popular", params={"filter": json.dumps(NONE)}).json()
    assert (popular["items"], popular["empty_reason"]) == ([], "no_item_allowed")


@pytest.mark.parametrize(
    ("wanted", "pointer"),
    [
        ({"where": {"prize": {"lt": 2}}}, "/where/prize"),
        ({"where": {"price": {"lt": "2"}}}, "/where/price/lt"),
        ({"where": {"genre": {"eq": "crime"}}}, "/where/genre/eq"),
        ({"items": ["x"] * 100_001}, "/items"),
        ({"items": [""]}, "/items/0"),
        ({"colour": 1}, "/colour"),
    ],
)
def test_what_cannot_be_asked_is_one_problem_that_names_the_place(
    client: httpx.Client, wanted: dict[str, Any], pointer: str
) -> None:
    refused = ask(client, filter=wanted)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert refused.json()["errors"][0]["pointer"] == f"/filter{pointer}"
    if len(json.dumps(wanted)) < 1024:
        by_address = client.get("/v1/users/u00020/recommendations", params={"filter": json.dumps(wanted)})
        assert (by_address.status_code, by_address.json()["code"]) == (422, "invalid_request")
        assert f"{pointer}: " in by_address.json()["detail"]


def test_a_long_allow_list_is_taken_and_holds_nobody_up(client: httpx.Client, recommender: Recommender) -> None:
    wanted = {"items": [f"t{row:05d}" for row in range(99_999, -1, -1)]}
    assert ids(ask(client, filter=wanted)) == recommender.recommend("u00020", k=9).item_ids


def test_another_bundle_keeps_to_the_filter_by_its_own_attributes(bundle: Path) -> None:
    """As the canary or by name: what it is asked is what its own items meet, and what it cannot be asked is refused."""
    with serving(bundle) as client:
        other = client.post("/v1/admin/models/load", json={"path": "other"}).json()["id"]
        assert client.put("/v1/admin/traffic", json={"canary": other, "percent": 100}).status_code == 200
        theirs = Recommender(open_bundle(bundle.with_name("other")), device="cpu")
        assert ids(ask(client, filter=CRIME)) == theirs.recommend("u00020", k=9, filter=CRIME).item_ids
        unknown = ask(client, filter={"where": {"language": {"eq": "en"}}})
        assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (422, "/filter/where/language")
