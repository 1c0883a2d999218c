"""Items, one by one: what is known of one, and what is to hold for it from now on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict, Unpack

from pydantic import Field

from diffcdr.client.answers import Answer
from diffcdr.client.calls import Call, given, nothing, segment


class ItemChange(TypedDict, total=False):
    """What is to hold for an item; what is left out stays as it is, None is what the bundle says."""

    available: bool | None
    tags: Sequence[str] | None


class KnownItem(Answer):
    """What is known of an item; ``attributes`` by name: numbers, text, booleans, and lists of text."""

    item_id: str
    attributes: dict[str, float | str | bool | list[str]]
    available: bool
    bundle: str
    title: str | None = None


class ItemsChanged(Answer):
    """How many items were changed: all that were named. ``unknown``: the first 100 that the active bundle lacks."""

    changed: int
    unknown: list[str] = Field(default_factory=list)
    request_id: str


def item(item_id: str, *, model: str | None = None) -> Call[KnownItem]:
    """What is known of an item of the target domain, and whether lists may hold it now."""
    return Call("GET", f"/v1/items/{segment(item_id)}", KnownItem.read, parameters=given(model=model))


def change_item(item_id: str, **change: Unpack[ItemChange]) -> Call[None]:
    """Have this ``change`` hold for an item: whether it is available, its tags."""
    return Call("PUT", f"/v1/items/{segment(item_id)}", nothing, body=dict(change))


def change_items(changes: Mapping[str, ItemChange]) -> Call[ItemsChanged]:
    """The same for up to 10,000 items, by id: all of it holds, or none."""
    body = {"items": [{"item_id": item_id, **change} for item_id, change in changes.items()]}
    return Call("PUT", "/v1/items", ItemsChanged.read, body=body)


class UploadedList(Answer):
    """An uploaded list of items. ``count``: number of different items."""

    name: str
    count: int
    items: list[str]


class UploadedLists(Answer):
    """The names of all uploaded lists."""

    lists: list[str]


def put_list(name: str, items: Iterable[str]) -> Call[None]:
    """Upload up to 100,000 items as the list ``name``, for ``filter={"list": name}``; replaces one of this name."""
    return Call("PUT", f"/v1/lists/{segment(name)}", nothing, body={"items": list(items)})


def uploaded_list(name: str) -> Call[UploadedList]:
    """An uploaded list of items."""
    return Call("GET", f"/v1/lists/{segment(name)}", UploadedList.read)


def uploaded_lists() -> Call[UploadedLists]:
    """The names of all uploaded lists."""
    return Call("GET", "/v1/lists", UploadedLists.read)


def delete_list(name: str) -> Call[None]:
    """Delete an uploaded list; filters that name it are refused from then on."""
    return Call("DELETE", f"/v1/lists/{segment(name)}", nothing)
