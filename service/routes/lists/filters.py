"""Checks filters against the bundle that will answer, before the request waits for anything."""

from __future__ import annotations

from diffcdr.filtering.item_filter import FilterError
from diffcdr.recommend.query import Query
from service.bundles.registry import Model
from service.edge.problems import filter_refused


def require_askable(model: Model, query: Query, *, place: str = "/filter") -> None:
    """Raise Problem 422 if ``model`` does not support the filter of ``query``, at ``place`` in the request."""
    if query.filter is None:
        return
    try:
        model.recommender.catalogue.check(query.filter)
    except FilterError as error:
        refused = filter_refused(error, place=place)
    else:
        return
    raise refused
