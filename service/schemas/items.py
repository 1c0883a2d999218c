"""Bodies about items: what is known of one, and what changes while the service runs."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from diffcdr.bundle.attributes import MAX_WORD_BYTES
from service.schemas.base import Body, SentId
from service.schemas.console import FoundItem
from service.state.items.store import ItemWish

MAX_CHANGED = 10_000
"""Most items in one request."""
MAX_TAGS = 100

Tag = Annotated[str, Field(min_length=1, max_length=MAX_WORD_BYTES)]


class ItemChangeRequest(Body):
    """What is to hold for an item from now on. What is left out stays as it is; null: as the bundle says."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["available"]}, {"required": ["tags"]}]})

    available: Annotated[bool | None, Field(description="Whether lists may hold it.", examples=[False])] = None
    tags: Annotated[
        tuple[Tag, ...] | None,
        Field(max_length=MAX_TAGS, description="In place of the tags it has.", examples=[["sale"]]),
    ] = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set & {"available", "tags"}:
            raise ValueError("give available, tags or both")
        return self

    def wish(self) -> ItemWish:
        """What the state is to remember."""
        given = self.model_fields_set
        return ItemWish(self.available, self.tags, "available" not in given, "tags" not in given)


class NamedItemChange(ItemChangeRequest):
    """The same of the item that it names."""

    item_id: SentId


class ItemChangesRequest(Body):
    """Changes of many items; all of them hold, or none."""

    items: Annotated[tuple[NamedItemChange, ...], Field(min_length=1, max_length=MAX_CHANGED, fail_fast=True)]


class ItemChangesAnswer(Body):
    """All of it holds now."""

    changed: Annotated[int, Field(ge=1, description="Items that the request names.")]
    request_id: str


class ItemAnswer(FoundItem):
    """What is known of an item of the target domain."""

    attributes: Annotated[
        dict[str, Any], Field(description="Those that it has a value of; `tags` as they are now, `available` apart.")
    ]
    available: Annotated[bool, Field(description="Whether lists may hold it now.")]
    bundle: str
