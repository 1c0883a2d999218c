"""The OpenAPI document: FastAPI's, plus the bodies that routes parse themselves for speed."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from service.edge.problems import ProblemBody, responses
from service.edge.same_origin import SAFE_METHODS
from service.schemas import (
    ActivateRequest,
    BatchLine,
    BatchUser,
    EmbeddingsRequest,
    EventsRequest,
    LoadRequest,
    RecommendationRequest,
    TrafficSplit,
)
from service.schemas.examples import EXAMPLES
from service.schemas.items import ItemChangeRequest, ItemChangesRequest, ItemListRequest

BODIES = (
    RecommendationRequest,
    BatchUser,
    BatchLine,
    EmbeddingsRequest,
    EventsRequest,
    ItemChangeRequest,
    ItemChangesRequest,
    ItemListRequest,
    LoadRequest,
    ActivateRequest,
    TrafficSplit,
    ProblemBody,
)
"""Models that stand in the document without being parameters of a route function."""


def reference(name: str) -> dict[str, str]:
    """A JSON schema that points to component ``name``."""
    return {"$ref": f"#/components/schemas/{name}"}


def request_body(*content: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """``openapi_extra`` for a required body; ``content``: (media type, schema) pairs."""
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema} for kind, schema in content}}}


def describe(app: FastAPI) -> None:
    """Make ``app.openapi()`` list ``BODIES`` too, an example of each component, and just the errors that can happen."""
    document = app.openapi()
    for path, operations in document["paths"].items():
        if path.startswith("/v1/"):
            for method, operation in operations.items():
                refusals = ("forbidden",) if method.upper() in SAFE_METHODS else ("forbidden", "cross_origin")
                at_the_edge = responses("unauthenticated", *refusals, "host_unknown", "rate_limited")
                operation["responses"] |= {str(status): answer for status, answer in at_the_edge.items()}
                if not path.startswith("/v1/admin/"):
                    operation["responses"].setdefault("503", responses("overloaded")[503])
    schemas: dict[str, Any] = document["components"]["schemas"]
    _, extra = models_json_schema(
        [(model, "validation") for model in BODIES], ref_template="#/components/schemas/{model}"
    )
    schemas.update(extra["$defs"])
    for name, examples in EXAMPLES.items():
        schemas[name]["examples"] = list(examples)
    # FastAPI's own 422 body is never sent.
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
