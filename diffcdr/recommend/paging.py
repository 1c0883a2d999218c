"""Pages of a ranked list. All are cut from one list, so no item is repeated or missed."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from diffcdr.recommend.query import Query, Recommendation, UserUnknown

PAGED = 500
"""Length of the list that pages are cut from if its content depends on its length; longer for pages beyond it."""

A = TypeVar("A", Recommendation, UserUnknown, Recommendation | UserUnknown)


def whole(query: Query, *, prefixes: bool) -> Query:
    """The query for the whole list of the page; ``query`` itself if it has no ``offset``.

    ``prefixes``: a shorter list of the bundle is the beginning of a longer one. If not, and for diverse lists, all
    pages are cut from a list of one length.
    """
    if query.offset is None:
        return query
    needed = query.offset + query.k
    alike = prefixes and query.diversity == 0.0
    return replace(query, k=needed if alike else max(needed, PAGED), offset=None)


def page(answer: A, query: Query) -> A:
    """The part of ``answer`` that ``query`` asked for."""
    if query.offset is None or isinstance(answer, UserUnknown):
        return answer
    part = slice(query.offset, query.offset + query.k)
    passed = bool(answer.item_ids) and not answer.item_ids[part]
    return replace(
        answer,
        item_ids=answer.item_ids[part],
        scores=answer.scores[part],
        titles=answer.titles[part],
        offset=query.offset,
        empty_reason="past_the_end" if passed else answer.empty_reason,
    )
