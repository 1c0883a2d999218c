"""The popular list over HTTP."""

from __future__ import annotations

from pathlib import Path

import httpx2 as httpx

from service.schemas import PopularAnswer
from tests.bundles import write_bundle
from tests.serving import serving


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
