"""What the service is measured against: FastAPI alone, which parses the same body and returns the same bytes.

    python -m bench.serving.bare PORT FILE

FILE holds the answer that the service gave. Everything is as the framework does it by itself.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Rating(BaseModel):
    """A rating sent along."""

    model_config = ConfigDict(extra="forbid")

    item_id: str
    rating: float


class Wanted(BaseModel):
    """The body of a recommendation request."""

    model_config = ConfigDict(extra="forbid")

    user_id: str
    k: int = 20
    exclude_items: tuple[str, ...] = ()
    exclude_seen: bool = True
    history: tuple[Rating, ...] = ()
    fallback: Literal["allow", "deny"] = "allow"
    model: str | None = None
    timeout_ms: int | None = None


def make_app(answer: bytes) -> Any:
    """A FastAPI application with one endpoint, which answers with ``answer`` whatever is asked."""
    fastapi = importlib.import_module("fastapi")  # comes with the service, which training can do without
    app = fastapi.FastAPI()

    async def recommend(wanted: Wanted) -> Any:
        return fastapi.Response(answer, media_type="application/json")

    app.post("/v1/recommendations", response_model=None)(recommend)
    return app


if __name__ == "__main__":
    port, file = int(sys.argv[1]), Path(sys.argv[2])
    uvicorn = importlib.import_module("uvicorn")
    uvicorn.run(make_app(file.read_bytes()), port=port, log_level="warning", access_log=False)
