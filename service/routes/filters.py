"""Filters against the bundle that is to answer: found out before there is anything to wait for."""

from __future__ import annotations

from diffcdr.filtering.item_filter import FilterError
from diffcdr.recommend.query import Query
from service.bundles.registry import Model
from service.edge.problems import filter_refused


def require_askable(model: Model, query: Query, *, place: str = "/filter") -> None:
    """Raise Problem 422 where ``model`` cannot be asked for the filter of ``query``, at ``place`` in the request."""
    if query.filter is None:
        return
    try:
        model.recommender.catalogue.check(query.filter)
    except FilterError as error:
        refused = filter_refused(error, place=place)
    else:
        return
    raise refused
