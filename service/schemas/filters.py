"""Filters and caps in a query string: the same JSON as in a body, as text."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from diffcdr.bundle.attributes import MAX_NAME
from diffcdr.filtering.caps import MAX_CAPS, Caps, caps_of, pointer_to
from diffcdr.filtering.item_filter import FilterError, ItemFilter
from service.bundles.registry import MAX_K
from service.schemas.base import WHOLE

MAX_TEXT = 1024
"""Longest filter in an address, since servers and proxies limit the length of addresses."""


def _readable(text: str | None) -> str | None:
    try:
        filter_in(text)
    except FilterError as error:
        raise ValueError(str(error)) from None
    return text


FilterText = Annotated[
    str | None,
    Field(
        max_length=MAX_TEXT,
        description="Which items the list may contain: the JSON of `filter` in `POST /v1/recommendations`.",
        examples=['{"where": {"tags": {"none": ["sale"]}}}'],
    ),
    AfterValidator(_readable),
]


MostShared = Annotated[int, Field(ge=1, le=MAX_K), WHOLE]
CapsByName = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=MAX_NAME)], MostShared],
    Field(
        max_length=MAX_CAPS,
        description="Attribute of the items: at most so many items of the list share a value of it. Going down from "
        "the best item, those beyond a cap are left out. Holds for the whole list, across its pages.",
        examples=[{"tags": 3}],
    ),
]
_CAPS: TypeAdapter[dict[str, int]] = TypeAdapter(CapsByName, config=ConfigDict(strict=True))


def _capping(text: str | None) -> str | None:
    try:
        caps_in(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"caps{''.join(map(pointer_to, map(str, first['loc'])))}: {first['msg']}") from None
    return text


CapsText = Annotated[
    str | None,
    Field(
        max_length=MAX_TEXT,
        description="At most so many items that share a value: the JSON of `caps` in `POST /v1/recommendations`.",
        examples=['{"tags": 3}'],
    ),
    AfterValidator(_capping),
]


def caps_in(text: str | None) -> Caps:
    """The caps parsed from ``text``. Raises ValidationError."""
    return () if text is None else caps_of(_CAPS.validate_json(text))


def filter_in(text: str | None) -> ItemFilter | None:
    """The filter parsed from ``text``. Raises FilterError."""
    return None if text is None else ItemFilter.parse(text)
