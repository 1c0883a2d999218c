"""Bodies of similar items."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.bundles.registry import MAX_K
from service.schemas.base import WHOLE, Body, ModelName
from service.schemas.console import FoundItem


class SimilarParameters(BaseModel):
    """What may stand in the query string."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    k: Annotated[int, Field(ge=1, le=MAX_K, description="Length of the list."), WHOLE] = 20
    domain: Annotated[
        Literal["source", "target"],
        Field(description="Where the item and those like it are from.", examples=["target"]),
    ] = "target"
    model: ModelName = None


class SimilarItem(FoundItem):
    """An item that is like the one asked for."""

    similarity: Annotated[float, Field(ge=-1, le=1, description="Cosine of both items' vectors.")]
    rank: Annotated[int, Field(ge=1)]


class SimilarAnswer(Body):
    """Items like an item, most alike first."""

    item: Annotated[FoundItem, Field(description="The item asked for.")]
    items: Annotated[list[SimilarItem], Field(description="At most k; none where the item's vector is zero.")]
    domain: Literal["source", "target"]
    bundle: str
