"""A filter in a query string: the same JSON as in a body, as text."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from diffcdr.filtering.item_filter import FilterError, ItemFilter

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


def filter_in(text: str | None) -> ItemFilter | None:
    """The filter parsed from ``text``. Raises FilterError."""
    return None if text is None else ItemFilter.parse(text)
