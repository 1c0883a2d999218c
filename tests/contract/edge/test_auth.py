"""Keys over HTTP, and what a web page may do without one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx2 as httpx

from service.edge.problems import ProblemBody
from tests.bundles import write_bundle
from tests.serving import serving

ADDRESS = "/v1/recommendations"


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, ProblemBody.model_validate_json(response.content).code


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def test_keys_guard_everything_but_probes_and_documents(bundle_path: Path) -> None:
    keys = f"read:{digest('reader')};admin:{digest('boss')}"
    with serving(bundle_path, api_keys=keys) as client:
        refused = client.post(ADDRESS, json={"user_id": "u1"})
        assert code(refused) == (401, "unauthenticated")
        assert refused.headers["www-authenticate"] == "Bearer"
        for address in ("/livez", "/readyz", "/metrics", "/docs", "/openapi.json"):
            assert client.get(address).status_code == 200
        reader, boss = {"Authorization": "Bearer reader"}, {"X-API-Key": "boss"}
        assert client.post(ADDRESS, json={"user_id": "u1"}, headers=reader).status_code == 200
        assert code(client.post(ADDRESS, json={"user_id": "u1"}, headers=boss)) == (403, "forbidden")
        assert code(client.post("/v1/admin/models/rollback", headers=reader)) == (403, "forbidden")
        assert code(client.post("/v1/admin/models/rollback", headers=boss)) == (409, "conflict")
        for address in ("/v1/models", "/v1/items/popular", "/v1/users/u1/recommendations", "/v1/nowhere"):
            assert code(client.get(address)) == (401, "unauthenticated")
            assert client.get(address, headers=reader).status_code in (200, 404)


def test_a_web_page_cannot_use_a_service_without_keys_but_its_own_pages_can(tmp_path: Path) -> None:
    for seed, name in enumerate(("stable", "candidate")):
        write_bundle(tmp_path / name, seed=seed)

    def answering() -> str:
        return str(client.post(ADDRESS, json={"user_id": "u1"}).json()["bundle"])

    with serving(tmp_path / "stable") as client:
        loaded = client.post("/v1/admin/models/load", json={"path": "candidate", "activate": True})
        second = loaded.json()["id"]
        foreign = {"Origin": "https://evil.example"}
        for method, address in (
            ("POST", "/v1/admin/models/rollback"),
            ("DELETE", "/v1/users/u02500"),
            ("POST", ADDRESS),
            ("POST", "/v1/events"),
        ):
            assert code(client.request(method, address, headers=foreign)) == (403, "cross_origin")
            assert code(client.request(method, address, headers={"Sec-Fetch-Site": "cross-site"}))[0] == 403
        assert answering() == second
        assert client.get("/v1/models", headers=foreign).status_code == 200
        own = {"Origin": str(client.base_url).rstrip("/")}
        assert client.post("/v1/admin/models/rollback", headers=own).status_code == 200
        assert answering() != second


def test_whoever_has_a_key_may_ask_from_anywhere(bundle_path: Path) -> None:
    with serving(bundle_path, api_keys=f"read:{digest('reader')}") as client:
        headers = {"X-API-Key": "reader", "Origin": "https://shop.example", "Sec-Fetch-Site": "cross-site"}
        assert client.post(ADDRESS, json={"user_id": "u1"}, headers=headers).status_code == 200


def test_a_stranger_learns_nothing_from_a_body_that_is_wrong(bundle_path: Path) -> None:
    with serving(bundle_path, api_keys=f"read:{digest('reader')}") as client:
        assert code(client.post(ADDRESS, content=b"{")) == (401, "unauthenticated")
