"""The user data that a query may use: none of suppressed users; for others, the ratings they sent since training."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from diffcdr.bundle.reader import Bundle
from diffcdr.recommend.recommender import FallbackReason, Query
from service.bundles.registry import Model
from service.components import Runtime
from service.state.events.kinds import Domain, History
from service.state.store import StateUnavailable

if TYPE_CHECKING:
    from service.state.redis_vectors import RedisVectors


STORE_SECONDS = 0.75
"""No store lets its callers wait for longer than this by much."""


async def informed(
    runtime: Runtime, model: Model, queries: Sequence[Query], *, certain: bool, until: float | None = None
) -> list[Query]:
    """``queries`` with the data that ``model`` may use, in order; ``certain``: result of ``runtime.guard.refresh()``.

    Lists hold what is available now. Suppressed users are not personalised; while it is not certain who is suppressed,
    nobody is. For other users whose query holds no ratings, their events from the store are added: ratings of source
    items if the bundle does not know the user, ratings of target items in any case. If the store does not answer before
    ``until`` (on the loop's clock), none are added.
    """
    denied: Literal["opted_out", "state_unavailable"] = "opted_out" if certain else "state_unavailable"
    changes = runtime.items.now
    if changes.serial or changes.lists or not changes.known:
        queries = [replace(query, changes=changes) for query in queries]
    allowed = [
        query
        if certain and runtime.guard.allows(query.user_id)
        else replace(query, personalise=False, denied_reason=denied)
        for query in queries
    ]
    if runtime.vectors is not None:
        allowed = await _with_vectors(runtime.vectors, model, allowed)
    bundle = model.recommender.bundle
    strangers, movable = _strangers(bundle, allowed), _movable(bundle, allowed)
    if not strangers and not movable:
        return allowed
    try:
        async with _deadline(until):
            sources, targets = await asyncio.gather(
                _events(runtime, bundle, strangers, "source"), _events(runtime, bundle, movable, "target")
            )
    except (StateUnavailable, TimeoutError):
        unread = set(strangers)
        return [
            replace(query, unknown_reason="state_unavailable") if query.user_id in unread else query
            for query in allowed
        ]
    if not sources and not targets:
        return allowed
    return [
        replace(
            query,
            history=query.history or sources.get(query.user_id or "", ()),
            target_history=query.target_history or targets.get(query.user_id or "", ()),
        )
        if query.personalise and (query.user_id in sources or query.user_id in targets)
        else query
        for query in allowed
    ]


def _deadline(until: float | None) -> AbstractAsyncContextManager[object]:
    """A timer where the store's own might be too late."""
    if until is None or until - asyncio.get_running_loop().time() > STORE_SECONDS:
        return nullcontext()
    return asyncio.timeout_at(until)


async def _with_vectors(vectors: RedisVectors, model: Model, queries: list[Query]) -> list[Query]:
    users = {query.user_id for query in queries if query.user_id and query.personalise}
    found = await vectors.find(model.id, users, dim=model.manifest.transfer.source_dim)
    reason: FallbackReason = "unknown_user" if found.complete else "vectors_unavailable"
    return [
        replace(query, source_vector=found.vectors.get(query.user_id), unknown_reason=reason)
        if query.user_id and query.personalise
        else query
        for query in queries
    ]


def _strangers(bundle: Bundle, queries: Sequence[Query]) -> list[str]:
    """Users without a vector, to be folded in."""
    if bundle.manifest.fold_in is None:
        return []
    strangers = [
        query.user_id
        for query in queries
        if query.user_id and query.personalise and not query.history and query.source_vector is None
    ]
    for known in (bundle.source_users.ids, bundle.target_users.ids):
        strangers = [user for user, row in zip(strangers, known.rows(strangers).tolist(), strict=True) if row < 0]
    return strangers


def _movable(bundle: Bundle, queries: Sequence[Query]) -> list[str]:
    """Users whose vector target ratings would move."""
    if bundle.manifest.warm is None:
        return []
    return [query.user_id for query in queries if query.user_id and query.personalise and not query.target_history]


async def _events(runtime: Runtime, bundle: Bundle, users: Sequence[str], domain: Domain) -> dict[str, History]:
    if not users:
        return {}
    if not runtime.guard.healthy:
        # One that did not answer a moment ago is not waited for again.
        raise StateUnavailable("the state did not answer a moment ago")
    worth = runtime.feedback.types.worth(bundle.manifest, domain)
    return await runtime.store.histories(list(dict.fromkeys(users)), domain, worth=worth)
