"""Checks filters and caps against the bundle that will answer, before the request waits for anything."""

from __future__ import annotations

from diffcdr.filtering.item_filter import FilterError
from diffcdr.recommend.query import Query
from service.bundles.registry import Model
from service.edge.problems import filter_refused


def require_askable(model: Model, query: Query, *, within: str = "") -> None:
    """Raise Problem 422 if ``model`` does not support the filter or caps of ``query``, ``within`` the request."""
    if query.filter is None and not query.caps:
        return
    catalogue = model.recommender.catalogue
    try:
        if query.filter is not None:
            catalogue.check(query.filter)
        catalogue.check_caps(query.caps)
    except FilterError as error:
        refused = filter_refused(error, within=within)
    else:
        return
    raise refused
