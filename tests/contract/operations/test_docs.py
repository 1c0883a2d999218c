"""The interactive documentation and the OpenAPI document, as the service gives them."""

from __future__ import annotations

import json

import httpx2 as httpx


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
