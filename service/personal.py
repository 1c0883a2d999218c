"""What may be known about who asks: nothing of the suppressed, and what newcomers rated since training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from diffcdr.bundle import Bundle
from diffcdr.recommender import Query
from service.registry import Model
from service.runtime import Runtime
from service.state.store import History, StateUnavailable


async def informed(runtime: Runtime, model: Model, queries: Sequence[Query]) -> list[Query]:
    """``queries`` as ``model`` may be asked them, in their order; call it after ``runtime.guard.refresh()``.

    A suppressed user is not personalised. A user whom the bundle does not know and who brings no history gets the
    events in the store for one; where the store does not answer, the user stays unknown.
    """
    allowed = [query if runtime.guard.allows(query.user_id) else replace(query, personalise=False) for query in queries]
    histories = await _histories(runtime, model.recommender.bundle, allowed)
    if not histories:
        return allowed
    return [
        replace(query, history=histories[query.user_id])
        if query.personalise and not query.history and query.user_id in histories
        else query
        for query in allowed
    ]


async def _histories(runtime: Runtime, bundle: Bundle, queries: Sequence[Query]) -> dict[str, History]:
    # A store that did not answer a moment ago is not waited for again.
    if bundle.manifest.fold_in is None or not runtime.guard.healthy:
        return {}
    strangers = [query.user_id for query in queries if query.user_id and query.personalise and not query.history]
    for known in (bundle.source_users.ids, bundle.target_users.ids):
        strangers = [user for user, row in zip(strangers, known.rows(strangers).tolist(), strict=True) if row < 0]
    if not strangers:
        return {}
    try:
        return await runtime.store.histories(list(dict.fromkeys(strangers)))
    except StateUnavailable:
        return {}
