"""Real services as an attacker meets them: several at once, with workers, told apart by their answers alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2 as httpx

from tests import web

ONE = "/v1/recommendations"
HISTORY = [{"item_id": "s00003", "rating": 5}]
NOT_YET = (httpx.TransportError, AssertionError)
"""What is raised while a service is not what is waited for: it may be starting, or its state be away."""
TARGET_HISTORY = [{"item_id": "t00003", "rating": 5}]


def every_path(client: httpx.Client, user: str) -> list[str]:
    """What each path that could be personal says of ``user``: a strategy, ``vector``, ``none``, or a status."""

    def said(response: httpx.Response, field: str = "strategy") -> str:
        return str(response.json()[field]) if response.status_code == 200 else str(response.status_code)

    found = [
        said(client.post(ONE, json={"user_id": user})),
        said(client.post(ONE, json={"user_id": user, "history": HISTORY})),
        said(client.post(ONE, json={"user_id": user, "target_history": TARGET_HISTORY})),
        said(client.post(ONE, json={"user_id": user, "fallback": "deny"})),
        said(client.get(f"/v1/users/{user}/recommendations")),
    ]
    batch = client.post(f"{ONE}/batch", json=[{"user_id": user}, {"user_id": user, "history": HISTORY}])
    found += [str(json.loads(line).get("strategy") or "503") for line in batch.text.splitlines()]
    vectors = client.post("/v1/embeddings", json={"user_ids": [user]})
    if vectors.status_code != 200:
        return [*found, str(vectors.status_code)]
    return [*found, "vector" if vectors.json()["embeddings"][0]["found"] else "none"]


def personal(said: list[str]) -> list[str]:
    """Those of ``every_path`` that looked at the user."""
    return [each for each in said if each not in ("popular", "none", "404", "503", "504")]


def answer(address: str, user: str, **body: Any) -> tuple[str, str | None]:
    """Strategy and reason of one answer about ``user``, over a connection of its own (so by any worker)."""
    response = web.post(f"{address}{ONE}", json={"user_id": user, **body})
    assert response.status_code == 200, response.text
    return str(response.json()["strategy"]), response.json()["fallback_reason"]


def answers(address: str, user: str, times: int = 12) -> set[tuple[str, str | None]]:
    """All that is answered in ``times`` attempts."""
    return {answer(address, user) for _ in range(times)}


def state_of(address: str) -> tuple[str, float]:
    """What ``/readyz`` and ``diffcdr_state_up`` say of the state."""
    said = str(web.get(f"{address}/readyz").json()["components"]["state"])
    for line in web.get(f"{address}/metrics").text.splitlines():
        if line.startswith("diffcdr_state_up"):
            return said, float(line.split()[-1])
    raise AssertionError("no diffcdr_state_up")


def worker_ids(parent: int) -> list[int]:
    """Processes that ``parent`` started and that live."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
