"""Embeddings, items, models, probes, metrics and the documents about them all."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest

from diffcdr.bundle.reader import open_bundle
from diffcdr.recommend.recommender import Recommender
from service.edge.problems import ProblemBody
from service.schemas import EmbeddingsAnswer, Health, ModelsAnswer, ModelSummary, PopularAnswer, Readiness
from tests.bundles import METRICS, STANDARD_ERRORS, write_bundle
from tests.serving import gated_model, metric, serving


@pytest.fixture(scope="module")
def recommender(bundle_path: Path) -> Recommender:
    return Recommender(open_bundle(bundle_path))


def embed(client: httpx.Client, **body: Any) -> dict[str, Any]:
    response = client.post("/v1/embeddings", json=body)
    assert response.status_code == 200, response.text
    EmbeddingsAnswer.model_validate_json(response.content)
    answer: dict[str, Any] = response.json()
    return answer


def test_users_are_embedded_as_the_recommender_does_in_both_encodings(
    client: httpx.Client, recommender: Recommender
) -> None:
    users = ["u02500", "nobody", "u00003", "v00001"]
    expected, found = recommender.embed_users(users)
    plain = embed(client, user_ids=users)
    packed = embed(client, user_ids=users, encoding="base64")
    assert (plain["dim"], plain["bundle"]) == (expected.shape[1], recommender.bundle.id)
    for row, (entry, coded) in enumerate(zip(plain["embeddings"], packed["embeddings"], strict=True)):
        assert (entry["index"], entry["user_id"], entry["found"]) == (row, users[row], found[row])
        if not found[row]:
            assert entry["vector"] is coded["vector"] is None
            continue
        assert np.float32(entry["vector"]).tolist() == expected[row].tolist()
        assert np.frombuffer(base64.b64decode(coded["vector"]), "<f4").tolist() == expected[row].tolist()


def test_source_vectors_are_carried_over(client: httpx.Client, recommender: Recommender) -> None:
    vectors = np.asarray(recommender.bundle.source_users.vectors[2500:2503])
    answer = embed(client, vectors=vectors.tolist())
    assert [entry["vector"] for entry in answer["embeddings"]] == [
        pytest.approx(row) for row in recommender.embed_vectors(vectors).tolist()
    ]
    # A cold user's own vector, sent along, is the same as naming the user.
    assert answer["embeddings"][0]["vector"] == embed(client, user_ids=["u02500"])["embeddings"][0]["vector"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"user_ids": []}, "/user_ids"),
        ({"user_ids": ["u"], "vectors": [[1.0]]}, ""),
        ({"user_ids": ["u"] * 1025}, "/user_ids"),
        ({"vectors": [[0.0] * 8, [1.0]]}, "/vectors/1"),
        ({"vectors": [[1e300] * 8]}, "/vectors/0"),
        ({"vectors": [["1"] * 8]}, "/vectors/0/0"),
        ({"user_ids": ["u"], "encoding": "hex"}, "/encoding"),
    ],
)
def test_embeddings_refuse_what_is_wrong(client: httpx.Client, body: dict[str, Any], pointer: str) -> None:
    response = client.post("/v1/embeddings", json=body)
    found = ProblemBody.model_validate_json(response.content)
    assert response.status_code == found.status == 422
    assert found.errors[0].pointer == pointer


def test_an_overflow_is_no_vector_rather_than_infinity(client: httpx.Client) -> None:
    answer = embed(client, vectors=[[3e38] * 8, [0.0] * 8])
    assert [entry["found"] for entry in answer["embeddings"]] == [False, True]
    assert answer["embeddings"][0]["vector"] is None


def test_popular_is_sorted_bounded_and_cached_by_its_tag(client: httpx.Client, tmp_path: Path) -> None:
    response = client.get("/v1/items/popular", params={"k": 50})
    answer = PopularAnswer.model_validate_json(response.content)
    scores = [item.score for item in answer.items]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 50
    tag = response.headers["etag"]
    again = client.get("/v1/items/popular", params={"k": 50}, headers={"If-None-Match": f'"x", W/{tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert client.get("/v1/items/popular", headers={"If-None-Match": tag}).status_code == 200, "another k"
    for k in ("0", "501", "x"):
        assert client.get("/v1/items/popular", params={"k": k}).status_code == 422
    write_bundle(tmp_path / "small", items=7)
    with serving(tmp_path / "small") as other:
        assert len(other.get("/v1/items/popular", params={"k": 50}).json()["items"]) == 7


def test_models_show_their_figures_beside_the_baselines(client: httpx.Client, recommender: Recommender) -> None:
    response = client.get("/v1/models")
    (model,) = ModelsAnswer.model_validate_json(response.content).models
    assert (model.id, model.state, model.device) == (recommender.bundle.id, "stable", "cpu")
    assert (model.metrics, model.standard_errors) == (METRICS, STANDARD_ERRORS)
    one = client.get(f"/v1/models/{model.id}")
    assert ModelSummary.model_validate_json(one.content) == model
    assert client.get("/v1/models", headers={"If-None-Match": response.headers["etag"]}).status_code == 304


def test_probes_say_what_is_served_and_on_what(client: httpx.Client, recommender: Recommender) -> None:
    assert Health.model_validate_json(client.get("/livez").content).status == "ok"
    ready = Readiness.model_validate_json(client.get("/readyz").content)
    assert (ready.status, ready.bundle, ready.device) == ("ok", recommender.bundle.id, "cpu")
    assert set(ready.components.values()) == {"ok"}


def test_a_stalled_engine_is_not_alive(bundle_path: Path) -> None:
    model, gate = gated_model(bundle_path)
    with serving(bundle_path, model=model, stall_seconds=0.05, timeout_ms=100) as client, gate.held():
        assert client.post("/v1/recommendations", json={"user_id": "u1"}).status_code == 504
        for address in ("/livez", "/readyz"):
            response = client.get(address)
            assert (response.status_code, response.json()["status"]) == (503, "stalled")


def test_metrics_count_what_happened_and_name_no_user(bundle_path: Path) -> None:
    with serving(bundle_path) as client:
        warmed = metric(client, "diffcdr_engine_rows_total")
        client.post("/v1/recommendations", json={"user_id": "u02500"})
        client.get("/v1/users/nobody-special/recommendations")
        client.get("/v1/users/nobody-special/recommendations?k=0")
        client.post("/v1/recommendations/batch", json=[{"user_id": "u02500"}] * 10)
        assert metric(client, "diffcdr_engine_rows_total") == warmed + 12
        assert metric(client, "diffcdr_recommendations_total", strategy="transfer", fallback_reason="none") == 11
        assert metric(client, "diffcdr_recommendations_total", fallback_reason="unknown_user") == 1
        by_address = "/v1/users/{user_id}/recommendations"
        assert metric(client, "diffcdr_requests_total", route=by_address, status="200") == 1
        assert metric(client, "diffcdr_requests_total", route=by_address, status="422") == 1
        assert metric(client, "diffcdr_bundle_info", state="stable", device="cpu") == 1
        text = client.get("/metrics").text
    assert "nobody-special" not in text
    assert "u02500" not in text


def test_the_documentation_works_offline(client: httpx.Client) -> None:
    page = client.get("/docs").text
    assert "//cdn" not in page
    for asset in ("static-offline-docs/swagger-ui-bundle.js", "static-offline-docs/swagger-ui.css"):
        assert asset in page
        assert len(client.get(f"/{asset}").content) > 10_000


def test_openapi_is_whole(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    references = {part.partition('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
    assert references <= set(schemas)
    assert not {"HTTPValidationError", "ValidationError"} & set(schemas)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            for status, described in operation["responses"].items():
                if int(status) >= 400 and "application/json" not in described["content"]:
                    assert list(described["content"]) == ["application/problem+json"], (method, path, status)
