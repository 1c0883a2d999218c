"""Similar items over HTTP."""

from __future__ import annotations

from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest

from diffcdr.bundle.reader import open_bundle
from service.edge.problems import ProblemBody
from service.schemas.similar import SimilarAnswer


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
