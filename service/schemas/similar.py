"""Bodies of similar items."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.bundles.registry import MAX_K
from service.schemas.base import WHOLE, Body, ModelName
from service.schemas.console import FoundItem
from service.schemas.filters import FilterText


class SimilarParameters(BaseModel):
    """Query parameters of similar items."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    k: Annotated[int, Field(ge=1, le=MAX_K, description="Length of the list."), WHOLE] = 20
    domain: Annotated[
        Literal["source", "target"],
        Field(
            description="The domain of the item and, without `to`, of the similar items.",
            examples=["target"],
        ),
    ] = "target"
    to: Annotated[
        Literal["source", "target"] | None,
        Field(
            description="The domain of the similar items. Across domains: items that go with this one.",
            examples=["target"],
        ),
    ] = None
    filter: FilterText = None
    model: ModelName = None


class SimilarItem(FoundItem):
    """An item similar to the requested one."""

    similarity: Annotated[float, Field(ge=-1, le=1, description="Cosine of both items' vectors.")]
    rank: Annotated[int, Field(ge=1)]


class SimilarAnswer(Body):
    """Items similar to an item, most similar first."""

    item: Annotated[FoundItem, Field(description="The item asked for.")]
    items: Annotated[list[SimilarItem], Field(description="At most k; none if the item's vector is zero.")]
    empty_reason: Annotated[
        Literal["no_item_allowed", "availability_unknown"] | None,
        Field(description="Filter and availability allow no item, or availability cannot be read. Left out otherwise."),
    ] = None
    domain: Annotated[Literal["source", "target"], Field(description="The domain of the item.")]
    to: Annotated[Literal["source", "target"], Field(description="The domain of the similar items.")]
    bundle: str
