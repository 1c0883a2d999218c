"""Ids, items, histories, map and recent activity over HTTP; and that nothing is told of who does not want it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest

from diffcdr.bundle.reader import Bundle, open_bundle
from service import recent_activity as activity
from service.metrics import SECONDS
from service.schemas.console import (
    ActivityAnswer,
    HistoryAnswer,
    ItemsAnswer,
    MapAnswer,
    PlaceAnswer,
    UsersAnswer,
)
from tests.bundles import write_bundle
from tests.serving import metric, serving
from tests.waiting import until


@pytest.fixture(scope="module")
def bundle(bundle_path: Path) -> Bundle:
    return open_bundle(bundle_path)


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def test_users_are_found_in_both_domains_by_how_their_id_begins(client: httpx.Client) -> None:
    def find(**query: Any) -> list[str]:
        return list(UsersAnswer.model_validate_json(client.get("/v1/users", params=query).content).users)

    assert find(prefix="u0001", limit=3) == ["u00010", "u00011", "u00012"]
    assert find(prefix="v") == [f"v{row:05d}" for row in range(5)]
    everyone = [f"u{row:05d}" for row in range(3000)] + [f"v{row:05d}" for row in range(5)]
    assert find(prefix="", limit=100) == everyone[:100]
    assert find(prefix="nobody") == find(prefix="x" * 256) == []


def test_items_are_found_by_id_then_by_title(client: httpx.Client) -> None:
    def find(**query: Any) -> list[tuple[str, str | None]]:
        answer = ItemsAnswer.model_validate_json(client.get("/v1/items", params=query).content)
        return [(item.item_id, item.title) for item in answer.items]

    assert find(q="t0000", limit=2) == [("t00000", None), ("t00001", "Title 1")]
    assert find(q="TITLE 19", limit=3) == [("t00019", "Title 19"), ("t00190", "Title 190"), ("t00191", "Title 191")]
    assert find(q="source 3", domain="source", limit=2) == [("s00003", "Source 3"), ("s00030", "Source 30")]
    assert find(q="Title 1Title") == []  # where one title ends and the next begins


def test_a_history_is_the_bundle_s_best_first(client: httpx.Client, bundle: Bundle) -> None:
    answer = HistoryAnswer.model_validate_json(client.get("/v1/users/u02500/history", params={"limit": 2}).content)
    assert bundle.console.history is not None
    items, ratings = bundle.console.history.of(bundle.source_users.ids.row("u02500"))
    assert (answer.total, answer.origin) == (3, "training")
    assert [entry.item_id for entry in answer.items] == bundle.source_items.ids.take(items)[:2]
    assert [entry.rating for entry in answer.items] == ratings.tolist()[:2]
    assert all(entry.title and entry.title.startswith("Source") for entry in answer.items)
    assert code(client.get("/v1/users/nobody/history")) == (404, "user_unknown")


def test_the_map_places_its_users_exactly_and_others_among_them(client: httpx.Client, bundle: Bundle) -> None:
    shown = MapAnswer.model_validate_json(client.get("/v1/map").content)
    drawn = bundle.console.map
    assert drawn is not None
    assert [user.user_id for user in shown.users] == bundle.source_users.ids.take(drawn.users)
    assert [item.item_id for item in shown.items] == bundle.target_items.ids.take(drawn.items)
    assert [list(user.others["ridge"]) for user in shown.users] == drawn.others["ridge"].tolist()
    etag = client.get("/v1/map").headers["etag"]
    assert client.get("/v1/map", headers={"If-None-Match": etag}).status_code == 304
    places = {
        user: PlaceAnswer.model_validate_json(client.get(f"/v1/users/{user}/map").content)
        for user in ("u00003", "u02500", "v00001")
    }
    own = places["u00003"]
    assert own.on_map and (own.source, own.transferred, own.target) == (
        shown.users[3].source,
        shown.users[3].transferred,
        shown.users[3].target,
    )
    cold, target_only = places["u02500"], places["v00001"]
    assert not cold.on_map and cold.source and cold.transferred and cold.target is None
    assert not target_only.on_map and target_only.source is target_only.transferred is None and target_only.target
    corners = np.array([user.transferred for user in shown.users])
    assert (corners.min(axis=0) <= cold.transferred).all() and (cold.transferred <= corners.max(axis=0)).all()
    assert len({item.item_id for item in cold.near}) == len(cold.near) == 8
    assert code(client.get("/v1/users/nobody/map")) == (404, "user_unknown")


def test_nothing_is_told_of_who_opted_out_or_was_erased(bundle_path: Path, tmp_path: Path) -> None:
    with serving(bundle_path, state_url=f"sqlite:{tmp_path / 'state.sqlite'}") as client:
        event = {"event_id": "1", "user_id": "newcomer", "item_id": "s00003", "rating": 4.0}
        assert client.post(
            "/v1/events", json={"events": [event, event | {"event_id": "2", "item_id": "new"}]}
        ).is_success
        sent = client.get("/v1/users/newcomer/history").json()
        assert (sent["origin"], sent["total"], sent["items"][0]["title"]) == ("events", 2, "Source 3")
        assert client.get("/v1/map").text.count("u00003") == 1
        assert client.put("/v1/users/u00003/opt-out").status_code == 204
        assert client.delete("/v1/users/u00004").status_code == 202
        assert client.delete("/v1/users/newcomer").status_code == 202
        for user in ("u00003", "u00004", "newcomer"):
            for view in ("history", "map"):
                known, stranger = (client.get(f"/v1/users/{name}/{view}") for name in (user, "nobody"))
                assert code(known) == code(stranger) == (404, "user_unknown")
                assert known.json()["detail"] == stranger.json()["detail"]
            assert user not in client.get("/v1/map").text
        listed = client.get("/v1/users", params={"prefix": "u0000", "limit": 4}).json()["users"]
        assert listed == ["u00000", "u00001", "u00002", "u00005"]
        assert client.delete("/v1/users/u00003/opt-out").status_code == 204
        assert client.get("/v1/users/u00003/history").status_code == 200


def test_a_bundle_that_holds_neither_says_so(tmp_path: Path) -> None:
    write_bundle(tmp_path / "plain")
    with serving(tmp_path / "plain") as client:
        for path in ("/v1/map", "/v1/users/u00003/map", "/v1/users/u00003/history"):
            assert code(client.get(path)) == (404, "not_in_bundle")
        model = client.get("/v1/models").json()["models"][0]
        assert (model["histories"], model["map"]) == (False, False)


def test_a_model_says_what_it_was_trained_on_and_where_it_falls_short(client: httpx.Client) -> None:
    model = client.get("/v1/models").json()["models"][0]
    file = {"name": "source.parquet", "rows_read": 1000, "rows_kept": 990, "left_out": {"duplicate": 10}}
    assert model["data"]["source"] == file
    assert model["data"]["split"] == {"train": 6, "validation": 2, "test": 2}
    assert (model["objective"], model["transfer"], model["fold_in"]) == ("rating", "affine", True)
    assert model["shortfalls"] == [] and model["histories"] and model["map"]
    assert model["neighbours"] is None


def test_a_model_says_how_large_its_sparse_term_is(sparse_path: Path) -> None:
    tables = {path.stem: path for path in (sparse_path / "neighbours").iterdir()}
    with serving(sparse_path) as client:
        model = client.get("/v1/models").json()["models"][0]
    assert model["neighbours"] == {
        "entries": len(np.load(tables["values"])),
        "ratings": len(np.load(tables["user_items"])),
        "bytes": sum(path.stat().st_size for path in tables.values()),
    }


def test_activity_counts_what_callers_ask_for(bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "INTERVAL_SECONDS", 0.05)
    with serving(bundle_path) as client:

        def samples(**query: float) -> list[Any]:
            return list(ActivityAnswer.model_validate_json(client.get("/v1/activity", params=query).content).samples)

        before = samples()[-1]
        for user in ("u02500", "u00001", "nobody"):
            client.post("/v1/recommendations", json={"user_id": user})
        client.post("/v1/recommendations", content=b"no JSON")
        client.get("/v1/models")
        # What a person tries in the console is none of it, and is counted apart.
        console = {"x-diffcdr-console": "1"}
        client.post("/v1/recommendations", json={"user_id": "u02500"}, headers=console)
        client.post("/v1/recommendations/batch", json=[{"user_id": "u02500"}], headers=console)
        # A stream is counted once it has ended, which its caller may know a moment before.
        until(lambda: metric(client, "diffcdr_requests_total", route="console", status="200") == 2)
        after = samples()[-1]
        assert after.requests - before.requests == 4
        assert after.statuses == {"2xx": 3, "4xx": 1}
        assert after.strategies == {"popular": 1, "transfer": 1, "warm": 1}
        assert after.fallback_reasons == {"unknown_user": 1}
        assert len(after.latency) == len(SECONDS) + 1 and after.latency[-1] == after.requests
        assert after.latency == sorted(after.latency)
        assert after.batches > before.batches and after.state_up and after.workers == 1
        later = samples(since=after.at)
        assert all(sample.at > after.at for sample in later)
        until(lambda: len(samples()) >= 4)
        times = [sample.at for sample in samples()]
        assert times == sorted(times)
