"""Checks filters and caps against the bundle that will answer, before the request waits for anything."""

from __future__ import annotations

from diffcdr.filtering.changes import ItemChanges, named_list
from diffcdr.filtering.item_filter import FilterError
from diffcdr.recommend.query import Query
from service.bundles.registry import Model
from service.edge.problems import Problem, filter_refused


def require_askable(model: Model, query: Query, changes: ItemChanges, *, within: str = "") -> None:
    """Raise Problem 422 if ``model`` does not support the filter or caps of ``query``, ``within`` the request.

    Also if ``changes`` do not have the list that it names; 503 while they cannot be read.
    """
    if query.filter is None and not query.caps:
        return
    catalogue = model.recommender.catalogue
    try:
        if query.filter is not None:
            catalogue.check(query.filter)
            if query.filter.list is not None and not changes.known:
                detail = "lists of items cannot be read now; try again"
                raise Problem("state_unavailable", detail, headers={"Retry-After": "1"})
            named_list(query.filter, changes)
        catalogue.check_caps(query.caps)
    except FilterError as error:
        refused = filter_refused(error, within=within)
    else:
        return
    raise refused
