"""Callers that ask too often get 429 and everybody else is answered."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx2 as httpx

from service.edge.problems import ProblemBody
from tests.serving import metric, serving

ADDRESS = "/v1/recommendations"
ONE, OTHER = {"X-API-Key": "one"}, {"Authorization": "Bearer other"}
KEYS = ";".join(f"read,write:{hashlib.sha256(key).hexdigest()}" for key in (b"one", b"other"))
# So slow that no test outlasts it: each bucket holds one request.
RATE = 0.001


def refused(response: httpx.Response) -> bool:
    if response.status_code != 429:
        return False
    found = ProblemBody.model_validate_json(response.content)
    assert (found.code, found.status, found.request_id) == ("rate_limited", 429, response.headers["x-request-id"])
    assert 990 <= int(response.headers["retry-after"]) <= 1000
    return True


def test_each_key_has_its_own_share_whatever_it_asks_for(bundle_path: Path) -> None:
    with serving(bundle_path, api_keys=KEYS, rate_limit=RATE) as client:
        assert client.post(ADDRESS, json={"user_id": "u1"}, headers=ONE).status_code == 200
        assert refused(client.post(ADDRESS, json={"user_id": "u1"}, headers=ONE))
        assert refused(client.get("/v1/models", headers={"Authorization": "Bearer one"}))
        assert refused(client.put("/v1/users/u1/opt-out", headers=ONE))
        assert client.get("/v1/models", headers=OTHER).status_code == 200
        assert refused(client.post(ADDRESS, json={"user_id": "u1"}, headers=OTHER))
        assert client.post(ADDRESS, json={"user_id": "u1"}).status_code == 401, "a stranger has no share to use up"
        for _ in range(3):
            assert {client.get(address).status_code for address in ("/livez", "/readyz", "/metrics")} == {200}
        assert metric(client, "diffcdr_requests_total", status="429") == 4


def test_without_keys_the_client_s_address_is_counted(bundle_path: Path) -> None:
    with serving(bundle_path, rate_limit=RATE) as client:
        assert client.get("/v1/models").status_code == 200
        assert refused(client.post(ADDRESS, json={"user_id": "u1"}))


def test_every_operation_documents_the_limit(client: httpx.Client) -> None:
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for operation in operations.values():
            answer = operation["responses"].get("429")
            assert (answer is not None) == path.startswith("/v1/")
            assert answer is None or "Retry-After" in answer["headers"]
