"""Models over HTTP: their figures, and loading, swapping, rolling back and splitting traffic."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from diffcdr.bundle.reader import open_bundle
from service.edge.problems import ProblemBody
from service.schemas import ModelsAnswer, ModelSummary
from tests import web
from tests.bundles import METRICS, PAIRED, STANDARD_ERRORS, write_bundle
from tests.serving import metric, serving
from tests.waiting import until

ADDRESS = "/v1/recommendations"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A bundle root with ``stable``, ``candidate`` and ``broken``."""
    for seed, name in enumerate(("stable", "candidate", "broken")):
        write_bundle(tmp_path / name, seed=seed, users=3000, items=200)
    vectors = tmp_path / "broken" / "target_items" / "vectors.npy"
    content = bytearray(vectors.read_bytes())
    content[-1] ^= 1
    vectors.write_bytes(content)
    return tmp_path


def states(client: httpx.Client) -> list[str]:
    return [model.state for model in ModelsAnswer.model_validate_json(client.get("/v1/models").content).models]


def stable(client: httpx.Client) -> str:
    return str(client.get("/v1/models").json()["models"][0]["id"])


def answering(client: httpx.Client, user: str = "u02500") -> str:
    return str(client.post(ADDRESS, json={"user_id": user}).json()["bundle"])


def load(client: httpx.Client, path: str, **options: Any) -> httpx.Response:
    return client.post("/v1/admin/models/load", json={"path": path, **options})


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, ProblemBody.model_validate_json(response.content).code


def test_models_show_their_figures_beside_the_baselines(client: httpx.Client, bundle_path: Path) -> None:
    response = client.get("/v1/models")
    (model,) = ModelsAnswer.model_validate_json(response.content).models
    assert (model.id, model.state, model.device) == (open_bundle(bundle_path).id, "stable", "cpu")
    assert (model.metrics, model.standard_errors) == (METRICS, STANDARD_ERRORS)
    assert model.model_dump()["paired"]["test"]["popular"] == PAIRED["test"]["popular"].model_dump()
    one = client.get(f"/v1/models/{model.id}")
    assert ModelSummary.model_validate_json(one.content) == model
    assert client.get("/v1/models", headers={"If-None-Match": response.headers["etag"]}).status_code == 304


def test_load_activate_roll_back(root: Path) -> None:
    with serving(root / "stable") as client:
        first = stable(client)
        tag = client.get("/v1/models").headers["etag"]
        assert code(client.post("/v1/admin/models/rollback")) == (409, "conflict")
        loaded = ModelSummary.model_validate_json(load(client, "candidate").content)
        assert (loaded.state, answering(client)) == ("loaded", first)
        by_name = client.post(ADDRESS, json={"user_id": "u02500", "model": loaded.id}).json()
        assert by_name["bundle"] == loaded.id
        assert client.post("/v1/admin/models/activate", json={"model": loaded.id}).json()["state"] == "stable"
        assert (answering(client), states(client)) == (loaded.id, ["stable", "previous"])
        assert client.get("/readyz").json()["bundle"] == loaded.id
        assert metric(client, "diffcdr_bundle_info", bundle=loaded.id, state="stable") == 1
        assert metric(client, "diffcdr_bundle_info", bundle=first, state="stable") == 0
        assert client.get("/v1/models", headers={"If-None-Match": tag}).status_code == 200
        assert client.post("/v1/admin/models/rollback").json()["id"] == first == answering(client)


def test_a_bundle_can_be_activated_as_it_is_loaded(root: Path) -> None:
    with serving(root / "stable") as client:
        loaded = load(client, "candidate", activate=True).json()
        assert loaded["state"] == "stable"
        assert answering(client) == loaded["id"]


@pytest.mark.parametrize("path", ["broken", "missing", "../elsewhere", "/etc", "nul\0"])
def test_a_failed_load_leaves_everything_and_says_why(root: Path, path: str) -> None:
    with serving(root / "stable") as client:
        first = stable(client)
        assert code(load(client, path, activate=True)) == (422, "bundle_refused")
        assert (answering(client), states(client)) == (first, ["stable"])
        (refused,) = client.get("/v1/models").json()["refused"]
        assert refused["path"] == path.removeprefix("/"), "no more than its name"
        assert {"broken": "vectors.npy", "missing": "not a bundle", "nul\0": "not a usable path"}.get(
            path, "bundle root"
        ) in refused["reason"]
        assert metric(client, "diffcdr_bundle_loads_total", outcome="refused") == 1


def test_what_is_not_loaded_cannot_be_used(root: Path) -> None:
    with serving(root / "stable") as client:
        assert code(client.post("/v1/admin/models/activate", json={"model": "other"})) == (404, "model_unknown")
        assert code(client.put("/v1/admin/traffic", json={"canary": "other"})) == (404, "model_unknown")
        assert code(client.put("/v1/admin/traffic", json={"percent": 101})) == (422, "invalid_request")


def test_a_canary_answers_its_share_of_users_always_the_same(root: Path) -> None:
    users = [f"u{row:05d}" for row in range(400)]
    with serving(root / "stable") as client:
        first, other = stable(client), load(client, "candidate").json()["id"]
        split = client.put("/v1/admin/traffic", json={"canary": other, "percent": 25, "salt": "s"})
        assert split.json()["traffic"] == {"canary": other, "percent": 25, "salt": "s", "shadow": None}
        assert states(client) == ["stable", "canary"]
        answers = client.post(f"{ADDRESS}/batch", json=[{"user_id": user, "k": 1} for user in users])
        by_batch = [line.partition('"bundle":"')[2][:64] for line in answers.text.splitlines()]
        assert set(by_batch) == {first, other}
        assert by_batch.count(other) == pytest.approx(100, abs=35)
        assert [answering(client, user) for user in users[:40]] == by_batch[:40]
        client.put("/v1/admin/traffic", json={})
        assert {answering(client, user) for user in users[:40]} == {first}


def test_a_shadow_answers_nobody_and_its_agreement_is_a_metric(root: Path) -> None:
    with serving(root / "stable") as client:
        first, other = stable(client), load(client, "candidate").json()["id"]
        wanted = {"shadow": {"model": other, "percent": 100}}
        assert client.put("/v1/admin/traffic", json=wanted).json()["traffic"]["shadow"] == wanted["shadow"]
        assert states(client) == ["stable", "shadow"]
        client.put("/v1/users/u00001/opt-out")
        assert {answering(client, f"u{row:05d}") for row in range(20)} == {first}
        until(lambda: metric(client, "diffcdr_shadow_requests_total", outcome="compared") >= 19)
        assert metric(client, "diffcdr_shadow_overlap_count") == 19
        assert 0 <= metric(client, "diffcdr_shadow_overlap_sum") < 19
        assert code(client.put("/v1/admin/traffic", json={"shadow": {"model": "x", "percent": 1}}))[0] == 404
        client.put("/v1/admin/traffic", json={})
        assert states(client) == ["stable", "loaded"]


def test_nothing_fails_while_bundles_are_swapped(root: Path) -> None:
    with serving(root / "stable") as client:
        first = stable(client)
        other = load(client, "candidate").json()["id"]
        expected = {
            model: client.post(ADDRESS, json={"user_id": "u02500", "model": model}).json()["items"]
            for model in (first, other)
        }
        done = threading.Event()
        wrong: list[Any] = []
        answered: list[str] = []

        def ask() -> None:
            with web.client(base_url=client.base_url) as mine:
                while not done.is_set():
                    response = mine.post(ADDRESS, json={"user_id": "u02500"})
                    body = response.json()
                    if response.status_code != 200 or body["items"] != expected[body["bundle"]]:
                        wrong.append(body)
                    else:
                        answered.append(body["bundle"])

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for model in (other, first) * 10:
            before = answered.count(model)
            client.post("/v1/admin/models/activate", json={"model": model})
            until(partial(lambda model, before: answered.count(model) > before, model, before), why=lambda: wrong)
        done.set()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert set(answered) == {first, other}


def test_a_published_bundle_is_taken_only_if_told_to_watch(root: Path) -> None:
    with serving(root / "stable", watch_seconds=0.05) as client, serving(root / "stable") as other:
        first = stable(client)
        second = write_bundle(root / "stable", seed=9, users=3000, items=200)
        until(lambda: answering(client) == second)
        assert states(client) == ["stable", "previous"]
        assert answering(other) == first
