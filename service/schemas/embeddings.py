"""Bodies of embeddings."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from service.schemas.base import Body, ModelName, SentId, Timeout

MAX_EMBEDDINGS = 1024
"""Most user ids or vectors in one embeddings request."""
MAX_NUMBERS = 4096
"""Most numbers in one vector."""

Vector = Annotated[tuple[float, ...], Field(max_length=MAX_NUMBERS, fail_fast=True)]


class EmbeddingsRequest(Body):
    """Users or source vectors to transfer to the target domain."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["user_ids"], "properties": {"user_ids": {"type": "array"}}},
                {"required": ["vectors"], "properties": {"vectors": {"type": "array"}}},
            ]
        }
    )

    user_ids: Annotated[tuple[SentId, ...], Field(min_length=1, max_length=MAX_EMBEDDINGS, fail_fast=True)] | None = (
        None
    )
    vectors: Annotated[
        Annotated[tuple[Vector, ...], Field(min_length=1, max_length=MAX_EMBEDDINGS, fail_fast=True)] | None,
        Field(description="Source vectors, `source_dim` numbers each."),
    ] = None
    encoding: Annotated[
        Literal["float", "base64"], Field(description="`base64`: little-endian float32, base64-encoded.")
    ] = "float"
    model: ModelName = None
    timeout_ms: Timeout = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.user_ids is None) == (self.vectors is None):
            raise ValueError("give either user_ids or vectors")
        return self


class Embedding(Body):
    """One target vector."""

    index: int
    user_id: str | None = None
    found: Annotated[bool, Field(description="False if nothing is known about the user; the vector is then null.")]
    vector: list[float] | str | None


class EmbeddingsAnswer(Body):
    """Target vectors in the order of the request."""

    embeddings: list[Embedding]
    dim: int
    encoding: Literal["float", "base64"]
    bundle: str
    request_id: str
