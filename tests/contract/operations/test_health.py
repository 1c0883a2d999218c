"""Probes and metrics over HTTP: what is served, whether it is alive, and what happened."""

from __future__ import annotations

from pathlib import Path

import httpx2 as httpx

from diffcdr.bundle.reader import open_bundle
from service.schemas import Health, Readiness
from tests.serving import gated_model, metric, serving


def test_probes_say_what_is_served_and_on_what(client: httpx.Client, bundle_path: Path) -> None:
    assert Health.model_validate_json(client.get("/livez").content).status == "ok"
    ready = Readiness.model_validate_json(client.get("/readyz").content)
    assert (ready.status, ready.bundle, ready.device) == ("ok", open_bundle(bundle_path).id, "cpu")
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
