"""Similar items over HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest

from diffcdr.bundle.reader import open_bundle
from diffcdr.recommend.recommender import Recommender
from service.edge.problems import ProblemBody
from service.schemas.similar import SimilarAnswer
from tests.bundles import write_bundle
from tests.serving import serving


@pytest.mark.parametrize("domain", ["source", "target"])
def test_items_like_an_item_are_the_nearest_by_cosine(client: httpx.Client, bundle_path: Path, domain: str) -> None:
    bundle = open_bundle(bundle_path)
    table = bundle.source_items if domain == "source" else bundle.target_items
    item, path = table.ids[7], f"/v1/items/{table.ids[7]}/similar"
    response = client.get(path, params={"domain": domain, "k": 5})
    answer = SimilarAnswer.model_validate_json(response.content)
    vectors = np.asarray(table.vectors, dtype=np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = vectors @ vectors[7]
    likeness[7] = -2
    nearest = np.argsort(-likeness, kind="stable")[:5]
    assert [one.item_id for one in answer.items] == table.ids.take(nearest)
    assert [one.rank for one in answer.items] == [1, 2, 3, 4, 5]
    np.testing.assert_allclose([one.similarity for one in answer.items], likeness[nearest], atol=1e-6)
    assert (answer.item.item_id, answer.domain, answer.bundle) == (item, domain, bundle.id)
    assert any(one.title for one in answer.items)
    etag = response.headers["etag"]
    again = client.get(path, params={"domain": domain, "k": 5}, headers={"If-None-Match": etag})
    assert again.status_code == 304
    # A longer list begins with the shorter one; all others are there.
    longest = SimilarAnswer.model_validate_json(client.get(path, params={"domain": domain, "k": 100}).content)
    assert longest.items[:5] == answer.items and len(longest.items) == min(100, len(table.ids) - 1)


def test_items_that_go_with_an_item_of_the_other_domain_and_back(client: httpx.Client, bundle_path: Path) -> None:
    bundle = open_bundle(bundle_path)
    recommender = Recommender(bundle, device="cpu")
    sources, targets = bundle.source_items, bundle.target_items
    moved = recommender.source_item_vectors(np.arange(len(sources.ids)))
    assert moved is not None
    cosines = moved.astype(np.float64) @ targets.vectors.T.astype(np.float64)
    cosines /= np.linalg.norm(moved.astype(np.float64), axis=1)[:, None] * np.linalg.norm(targets.vectors, axis=1)
    forth = client.get("/v1/items/s00003/similar", params={"domain": "source", "to": "target", "k": 7})
    back = client.get("/v1/items/t00012/similar", params={"to": "source", "k": 7})
    for response, table, likeness in ((forth, targets, cosines[3]), (back, sources, cosines[:, 12])):
        answer = SimilarAnswer.model_validate_json(response.content)
        nearest = np.argsort(-likeness, kind="stable")[:7]
        assert [one.item_id for one in answer.items] == table.ids.take(nearest)
        np.testing.assert_allclose([one.similarity for one in answer.items], likeness[nearest], atol=1e-6)
    assert (forth.json()["domain"], forth.json()["to"]) == ("source", "target")
    assert (back.json()["domain"], back.json()["to"], back.json()["item"]["item_id"]) == ("target", "source", "t00012")
    only = {"items": targets.ids.take(np.arange(5))}
    few = client.get(
        "/v1/items/s00003/similar", params={"domain": "source", "to": "target", "filter": json.dumps(only)}
    ).json()
    assert [one["item_id"] for one in few["items"]] == targets.ids.take(np.argsort(-cosines[3, :5], kind="stable"))
    refused = client.get("/v1/items/t00012/similar", params={"to": "source", "filter": json.dumps(only)})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/query/filter")


def test_a_bundle_without_a_rule_for_single_ratings_says_so(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", fold_in=None)
    with serving(tmp_path / "bundle") as client:
        for path in ("s00003/similar?domain=source&to=target", "t00003/similar?to=source"):
            refused = client.get(f"/v1/items/{path}")
            assert (refused.status_code, refused.json()["code"]) == (404, "not_in_bundle")
            assert "no rule that leads from single source items" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/items/nothing/similar", 404, "item_unknown"),
        ("/v1/items/s00003/similar", 404, "item_unknown"),  # of the source, asked for in the target
        ("/v1/items/a%2Fb%25/similar", 404, "item_unknown"),
        ("/v1/items/t00007/similar?k=0", 422, "invalid_request"),
        ("/v1/items/t00007/similar?domain=music", 422, "invalid_request"),
        ("/v1/items/t00007/similar?model=other", 404, "model_unknown"),
        ("/v1/items/%FF/similar", 400, "bad_request"),
        ("/v1/items/a/b/similar", 404, "not_found"),
    ],
)
def test_mistakes_are_one_problem_each(client: httpx.Client, path: str, status: int, code: str) -> None:
    response = client.get(path)
    assert (response.status_code, ProblemBody.model_validate_json(response.content).code) == (status, code)
