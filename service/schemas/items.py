"""Bodies about items: their attributes, and changes while the service runs."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from diffcdr.bundle.attributes import MAX_WORD_BYTES
from diffcdr.filtering.item_filter import MAX_ALLOWED
from service.schemas.base import Body, SentId
from service.schemas.console import FoundItem
from service.state.items.store import ItemWish

MAX_CHANGED = 10_000
"""Most items in one request."""
MAX_TAGS = 100

Tag = Annotated[str, Field(min_length=1, max_length=MAX_WORD_BYTES)]


class ItemChangeRequest(Body):
    """Changes to an item. A field left out stays as it is; null resets it to the bundle's value."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["available"]}, {"required": ["tags"]}]})

    available: Annotated[bool | None, Field(description="Whether lists may contain it.", examples=[False])] = None
    tags: Annotated[
        tuple[Tag, ...] | None,
        Field(max_length=MAX_TAGS, description="Replaces the current tags.", examples=[["sale"]]),
    ] = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set & {"available", "tags"}:
            raise ValueError("give available, tags or both")
        return self

    def wish(self) -> ItemWish:
        """The change as the state stores it."""
        given = self.model_fields_set
        return ItemWish(self.available, self.tags, "available" not in given, "tags" not in given)


class NamedItemChange(ItemChangeRequest):
    """Changes to the item with this id."""

    item_id: SentId


class ItemChangesRequest(Body):
    """Changes to many items; either all apply or none."""

    items: Annotated[tuple[NamedItemChange, ...], Field(min_length=1, max_length=MAX_CHANGED, fail_fast=True)]


class ItemChangesAnswer(Body):
    """All changes were applied."""

    changed: Annotated[int, Field(ge=1, description="Number of items in the request.")]
    unknown: Annotated[
        list[str],
        Field(description="The first 100 that the active bundle does not have; a later bundle may have them."),
    ]
    request_id: str


class ItemAnswer(FoundItem):
    """An item of the target domain with its attributes."""

    attributes: Annotated[
        dict[str, Any], Field(description="Attributes with a value, including the current `tags`; without `available`.")
    ]
    available: Annotated[bool, Field(description="Whether lists may contain it now.")]
    bundle: str


class ItemListRequest(Body):
    """A list of items for filters. Ids that the bundle does not know are ignored in lists."""

    items: Annotated[
        tuple[SentId, ...],
        Field(max_length=MAX_ALLOWED, fail_fast=True, description="In any order; repetitions do not count."),
    ]


class ItemListAnswer(Body):
    """An uploaded list of items."""

    name: str
    count: Annotated[int, Field(ge=0, description="Number of different items.")]
    items: list[str]


class ItemListsAnswer(Body):
    """The names of all uploaded lists."""

    lists: list[str]
