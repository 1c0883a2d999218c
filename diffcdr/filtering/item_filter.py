"""Filters as written in requests. Their form is checked here, their attributes against the bundle later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from diffcdr.bundle.attributes import MAX_NAME, MAX_WORD_BYTES
from diffcdr.bundle.ids import MAX_ID_BYTES
from diffcdr.errors import InputError

MAX_ALLOWED = 100_000
"""Most items of an allow-list."""
MAX_CONDITIONS = 16
"""Most attributes that one filter names."""
MAX_WORDS = 100
"""Most words of one list."""


class FilterError(InputError):
    """A filter that the bundle does not support; ``pointer`` (JSON) names the part."""

    part = "filter"
    """The member of a request that is refused."""

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(f"{self.part}{pointer}: {detail}")
        self.pointer, self.detail = pointer, detail


def _text(value: Any) -> Any:
    """A whole number as text, like ids in rating files of numbers."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


AllowedId = Annotated[
    Annotated[str, Field(min_length=1, max_length=MAX_ID_BYTES)],
    BeforeValidator(_text, json_schema_input_type=Annotated[str, Field(min_length=1, max_length=MAX_ID_BYTES)] | int),
]
LIST_NAME = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
ListName = Annotated[str, Field(pattern=LIST_NAME, max_length=64)]
"""The name of an uploaded list, as it stands in an address."""
Word = Annotated[str, Field(min_length=1, max_length=MAX_WORD_BYTES)]
Words = Annotated[tuple[Word, ...], Field(min_length=1, max_length=MAX_WORDS)]
Scalar = bool | int | float | Annotated[str, Field(max_length=MAX_WORD_BYTES)]
Ordered = int | float | Annotated[str, Field(max_length=MAX_WORD_BYTES)]
ORDERED = ("lt", "lte", "gt", "gte")
COMPARED = ("eq", "ne", *ORDERED)


class _Part(BaseModel):
    # Strict: "20" is not a number and 1 is not true.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Condition(_Part):
    """Conditions on one attribute; an item must meet all of them. An item without a value meets only `none`."""

    any: Annotated[Words | None, Field(description="Categories, text: at least one of these.", examples=[["a"]])] = None
    all: Annotated[Words | None, Field(description="Categories: every one of these.", examples=[["a"]])] = None
    none: Annotated[Words | None, Field(description="Categories, text: not one of these.", examples=[["b"]])] = None
    eq: Annotated[Scalar | None, Field(description="Numbers, text, booleans: equal to this.")] = None
    ne: Annotated[Scalar | None, Field(description="Numbers, text, booleans: another value than this.")] = None
    lt: Annotated[Ordered | None, Field(description="Numbers, text (by its UTF-8 bytes): below this.")] = None
    lte: Annotated[Ordered | None, Field(description="Numbers, text: this or below.")] = None
    gt: Annotated[Ordered | None, Field(description="Numbers, text: above this.")] = None
    gte: Annotated[Ordered | None, Field(description="Numbers, text: this or above.")] = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.given():
            raise ValueError(f"give one of {', '.join(type(self).model_fields)}")
        return self

    def given(self) -> dict[str, Any]:
        """The conditions, by name."""
        return {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}


class ItemFilter(_Part):
    """Which items a list may contain: those that meet all parts of the filter."""

    items: Annotated[
        tuple[AllowedId, ...] | None,
        Field(max_length=MAX_ALLOWED, fail_fast=True, description="Only these items; unknown ids are ignored."),
    ] = None
    list: Annotated[
        ListName | None, Field(description="Only items of this list, uploaded before with `PUT /v1/lists/{name}`.")
    ] = None
    where: Annotated[
        dict[Annotated[str, Field(min_length=1, max_length=MAX_NAME)], Condition],
        Field(max_length=MAX_CONDITIONS, description="Attribute of the items: what is asked of it."),
    ] = {}
    available: Annotated[
        bool, Field(description="False: whether items are available or not; else only those that are.")
    ] = True

    @classmethod
    def of(cls, wanted: FilterLike | None) -> ItemFilter | None:
        """``wanted``, a filter or its JSON form. Raises FilterError if it is not a filter."""
        if wanted is None or isinstance(wanted, ItemFilter):
            return wanted
        return cls.parse(json.dumps(wanted, default=list))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The filter parsed from ``text`` (JSON). Raises FilterError if it is not a filter."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            pointer = "".join(f"/{part}" for part in first["loc"])
            raise FilterError(pointer, first["msg"]) from None

    def is_open(self) -> bool:
        """Whether it allows every available item."""
        return self.items is None and self.list is None and not self.where

    def key(self) -> str:
        """Equal for filters with the same conditions on attributes, in any order."""
        parts: dict[str, Any] = {
            name: {
                asked: sorted(set(value)) if isinstance(value, tuple) else [type(value).__name__, value]
                for asked, value in condition.given().items()
            }
            for name, condition in self.where.items()
        }
        return json.dumps(parts, sort_keys=True)


FilterLike = ItemFilter | Mapping[str, Any]
"""A filter, or its JSON form: ``{"where": {"price": {"lt": 20}}}``."""
