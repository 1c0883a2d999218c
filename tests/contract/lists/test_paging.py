"""Pages over HTTP: on every path, with places that go on, and nothing twice."""

from __future__ import annotations

import json
from typing import Any

import httpx2 as httpx
import pytest

ONE = "/v1/recommendations"


def ask(client: httpx.Client, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    if path == "batch":
        text = json.dumps(body) + "\n"
        headers = {"Content-Type": "application/x-ndjson"}
        response = client.post(f"{ONE}/batch", content=text, headers=headers)
    elif path == "address":
        response = client.get(f"/v1/users/{body.pop('user_id')}/recommendations", params=body)
    else:
        response = client.post(ONE, json=body)
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    return items


@pytest.mark.parametrize("path", ["body", "address", "batch"])
@pytest.mark.parametrize("user", ["u00003", "u02500", "nobody"])
def test_pages_put_together_are_the_list_on_every_path(client: httpx.Client, path: str, user: str) -> None:
    listed = ask(client, path, {"user_id": user, "k": 500})
    assert [item["rank"] for item in listed] == list(range(1, len(listed) + 1))
    assert len(listed) > 100, "longer than it could be without pages"
    pages = [ask(client, path, {"user_id": user, "k": 50, "offset": offset}) for offset in range(0, 500, 50)]
    assert [item for page in pages for item in page] == listed
    assert pages[0] == ask(client, path, {"user_id": user, "k": 50})
    assert ask(client, path, {"user_id": user, "k": 400, "offset": 90}) == listed[90:490]
    assert ask(client, path, {"user_id": user, "k": 400, "offset": 480}) == listed[480:500]


def test_pages_of_the_popular_list_have_tags_of_their_own(client: httpx.Client) -> None:
    def popular(**parameters: int) -> httpx.Response:
        return client.get("/v1/items/popular", params=parameters)

    listed = popular(k=100).json()["items"]
    first, second = popular(k=10), popular(k=10, offset=10)
    assert first.json()["items"] + second.json()["items"] == listed[:20]
    assert len({first.headers["etag"], second.headers["etag"]}) == 2
    assert popular(offset=500).status_code == popular(offset=-1).status_code == 422
