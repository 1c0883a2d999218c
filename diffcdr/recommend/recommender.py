"""Ranked lists of target items for users, with the strategy and reason of each list.

How a query is resolved, first match first:

    opted out (``personalise`` False)             -> popular     reason ``opted_out``, or ``state_unavailable``
    target ratings given, some usable             -> warm        the vector below, moved by them (``warm_start.py``)
    source ratings given, some usable             -> fold_in     closed-form source vector, then transfer
    user with target ratings in training          -> warm        the user's own target vector
    user with a source vector                     -> transfer
    none of these                                 -> popular     reason ``no_usable_history`` or ``unknown_user``

If only target ratings of a user are known, they move the zero vector, which gives every user the same list.

Personal lists are ordered by score, or made more diverse if the query asks for it. Exclusions and filters apply on
every path, and no answer depends, to the last bit, on the other queries of its batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from diffcdr.arrays import Float32Array, Int64Array
from diffcdr.bundle.check import check_tables
from diffcdr.bundle.reader import Bundle
from diffcdr.device.health import DeviceHealth
from diffcdr.device.names import Device
from diffcdr.device.placement import Placement
from diffcdr.errors import InputError
from diffcdr.filtering.caps import Caps, CapsLike, caps_of
from diffcdr.filtering.changes import ItemChanges
from diffcdr.filtering.item_filter import FilterLike, ItemFilter
from diffcdr.recommend.explain import Explainer
from diffcdr.recommend.item_search import ItemSearch, Wanted, searched_together
from diffcdr.recommend.list_table import ScoreOptions, ranked_table
from diffcdr.recommend.paging import page, whole
from diffcdr.recommend.query import (
    ROW_STRATEGIES,
    FallbackReason,
    Query,
    Recommendation,
    Strategy,
    TopRows,
    UserUnknown,
)
from diffcdr.recommend.ranked_list import Listing
from diffcdr.recommend.user_vectors import NO_ITEMS, Resolver, excluded_rows
from diffcdr.search.topk import MaskedRows
from diffcdr.stage_times import stage

__all__ = [
    "ROW_STRATEGIES",
    "FallbackReason",
    "Query",
    "Recommendation",
    "Recommender",
    "Strategy",
    "TopRows",
    "UserUnknown",
]


TYPICAL_USERS = 256
"""Number of sampled users whose vector lengths the layout of the top-k search is based on."""


class Recommender:
    """Answers queries from one open bundle. Safe to share between threads: nothing changes after construction."""

    def __init__(
        self, bundle: Bundle, *, device: Device = "auto", threads: int = 1, search_device: Device = "auto"
    ) -> None:
        """Load the tables of ``bundle``.

        Args:
            bundle: an open bundle.
            device: where a transfer graph runs, and the search if that is faster; a folded map always runs on the CPU.
            threads: intra-op threads of a transfer graph.
            search_device: ``auto`` follows ``device`` if faster, ``cpu`` uses the CPU, ``cuda`` requires the GPU.

        Raises:
            BundleError: a table contains a value that is not finite, or shapes do not match.
            DeviceError, MissingExtraError: see :func:`diffcdr.recommend.transfer.load_transfer`.
        """
        check_tables(bundle)
        self._bundle = bundle
        self.health = DeviceHealth()
        """Failures of the GPU, whose work the CPU did instead."""
        self._resolver = Resolver(bundle, device=device, threads=threads, health=self.health)
        sample = self.sampled_vectors(TYPICAL_USERS)
        self._search = ItemSearch(bundle, sample, device=device, search_device=search_device, health=self.health)
        self.catalogue = self._search.catalogue
        """Which items a filter allows."""
        self._listing = Listing(bundle.target_items)
        self._explainer = Explainer(bundle, self._resolver)

    @property
    def bundle(self) -> Bundle:
        """The open bundle."""
        return self._bundle

    @property
    def placement(self) -> Placement:
        """Where the transfer runs now."""
        return self._resolver.placement

    @property
    def device(self) -> str:
        """Where the transfer runs now: ``cpu`` or ``cuda:N``."""
        return self.placement.device

    @property
    def search_device(self) -> str:
        """Where large searches run now: ``cpu`` or ``cuda:N``."""
        return self._search.device

    def compile(self) -> None:
        """See :meth:`diffcdr.search.topk.TopK.compile`; worthwhile for many users, and answers stay the same."""
        self._search.compile(self._resolver.neighbours)

    def recommend(
        self,
        user_id: str,
        *,
        k: int = 20,
        filter: FilterLike | None = None,
        caps: CapsLike | None = None,
        **wishes: Any,
    ) -> Recommendation:
        """The ``k`` best items for one user.

        >>> answer = recommender.recommend("ann", k=3)
        >>> len(answer), answer.strategy
        (3, 'transfer')
        >>> [item.title for item in answer]  # doctest: +ELLIPSIS
        ['The ...']
        >>> why = recommender.recommend("ann", k=3, explain=True).explanations[0]
        >>> abs(why.total - answer.scores[0]) < 1e-6, len(why.sources) > 0
        (True, True)
        >>> likes = ("film-0002-clumsy-roommates", 5.0), ("film-0005-midnight-heist", 4.0)
        >>> recommender.recommend("a new user", history=likes).strategy
        'fold_in'
        >>> recommender.recommend("a new user").fallback_reason
        'unknown_user'

        Args:
            user_id: a user of either domain; for an unknown one, the list is the popular one.
            k: length of the list, at least 1.
            filter: which items the list may contain, as in a request: ``{"where": {"price": {"lt": 20}}}``.
            caps: at most so many items of the list share a value of an attribute: ``{"genre": 3}``.
            wishes: further fields of :class:`Query`: ``history``, ``exclude_items``, ``diversity``, ``explain``, …

        Raises:
            InputError: ``k`` is below 1, ``offset`` below 0, ``diversity`` is not between 0 and 1, the bundle does not
                support ``filter`` or ``caps``, or nothing is known about the user and ``allow_fallback`` is False.
        """
        (answer,) = self.answer([Query(user_id, k=k, filter=ItemFilter.of(filter), caps=caps_of(caps), **wishes)])
        if isinstance(answer, UserUnknown):
            raise InputError(f"nothing is known about {user_id!r} ({answer.reason}), and a popular list was ruled out")
        return answer

    def recommend_many(
        self,
        user_ids: Sequence[str],
        *,
        k: int = 20,
        filter: ItemFilter | Mapping[str, Any] | None = None,
        caps: CapsLike | None = None,
        **wishes: Any,
    ) -> pl.DataFrame:
        """The ``k`` best items of many users, a row per place: user_id, rank (from 1), item_id, score, strategy.

        Users are answered in blocks; each answer is that of :meth:`recommend`, and so are errors. ``wishes``:
        ``exclude_seen``, ``diversity`` and ``titles``.

        >>> lists = recommender.recommend_many(["ann", "a new user"], k=3)
        >>> lists.columns
        ['user_id', 'rank', 'item_id', 'score', 'strategy']
        >>> lists["strategy"].to_list()
        ['transfer', 'transfer', 'transfer', 'popular', 'popular', 'popular']
        """
        options = ScoreOptions(k=k, filter=ItemFilter.of(filter), caps=caps_of(caps), **wishes)
        return ranked_table(self, user_ids, options)

    def embed(self, user_ids: Sequence[str]) -> Float32Array:
        """Target vectors float32 [B, target_dim] of ``user_ids``; NaN for unknown users.

        >>> vectors = recommender.embed(["ann", "a new user"])
        >>> len(vectors), vectors.dtype
        (2, dtype('float32'))
        >>> np.isnan(vectors).any(axis=1)
        array([False,  True])
        """
        vectors, found = self.embed_users(user_ids)
        return np.where(found[:, None], vectors, np.float32(np.nan))

    def answer(self, queries: Sequence[Query]) -> list[Recommendation | UserUnknown]:
        """Answer ``queries``, in their order.

        Raises:
            InputError: a ``k`` is below 1, an ``offset`` below 0, a ``diversity`` is not between 0 and 1, or the bundle
                does not support a ``filter`` (FilterError).
        """
        for query in queries:
            query.check()
        found = self._answer([whole(query, prefixes=self._search.prefixes) for query in queries])
        return [self._explainer.asked(page(answer, query), query) for answer, query in zip(found, queries, strict=True)]

    def _answer(self, queries: Sequence[Query]) -> list[Recommendation | UserUnknown]:
        allowed = [self.catalogue.allowed(query.filter, query.changes) for query in queries]
        caps = [self.catalogue.rules(query.caps, query.changes) for query in queries]
        with stage("transfer"):
            resolved = self._resolver.resolve(queries)
        excluded = excluded_rows(self._bundle, queries, resolved)
        personal = [i for i, strategy in enumerate(resolved.strategies) if strategy != "popular"]
        answers: list[Recommendation | UserUnknown | None] = [None] * len(queries)
        for group in searched_together(queries, personal, allowed, alike=self._search.prefixes):
            with stage(self._search.stage):
                rows, scores = self._search.find(
                    Wanted(
                        resolved.vectors[group],
                        max(queries[i].k for i in group),
                        masked=MaskedRows.pack([excluded[i] for i in group]),
                        diversity=np.array([queries[i].diversity for i in group]),
                        sparse=None if resolved.histories is None else resolved.histories.of(group),
                        allowed=allowed[group[0]],
                        caps=caps[group[0]],
                    )
                )
            for i, row, score in zip(group.tolist(), rows, scores, strict=True):
                count = min(queries[i].k, int(np.count_nonzero(row >= 0)))
                shown, strategy = self._in_range(score[:count]), resolved.strategies[i]
                answers[i] = self._listing.of(row[:count], shown, strategy=strategy, allowed=allowed[i])
        for i in set(range(len(queries))).difference(personal):
            reason = resolved.reasons[i]
            answers[i] = self._listing.fall_back(
                queries[i], reason, excluded=excluded[i], allowed=allowed[i], caps=caps[i]
            )
        return [answer for answer in answers if answer is not None]

    def popular(
        self, k: int, *, filter: ItemFilter | None = None, caps: Caps = (), changes: ItemChanges | None = None
    ) -> Recommendation:
        """The ``k`` most rated items, ties in id order; ``filter``, ``caps`` and ``changes`` as in :class:`Query`."""
        allowed, rules = self.catalogue.allowed(filter, changes), self.catalogue.rules(caps, changes)
        return self._listing.popular(k, excluded=NO_ITEMS, reason=None, allowed=allowed, caps=rules)

    def source_item_vectors(self, rows: Int64Array) -> Float32Array | None:
        """Where source items lie among target items: float32 [n, target_dim]; None if the bundle has no rule for it.

        What a history of that item alone adds to the target vector of a user without ratings.
        """
        return self._resolver.alone(rows)

    def sampled_vectors(self, count: int) -> Float32Array:
        """Target vectors float32 [B, target_dim] of about ``count`` source users, at even distances in the table."""
        return self._resolver.sampled(count)

    def embed_users(
        self, user_ids: Sequence[str], *, given: Mapping[str, Float32Array] | None = None
    ) -> tuple[Float32Array, npt.NDArray[np.bool_]]:
        """Target vectors float32 [B, target_dim] of ``user_ids`` and found bool [B]; zeros where not found.

        ``given``: source vectors of users that are stored outside the bundle.
        """
        with stage("transfer"):
            resolved = self._resolver.resolve([Query(user, source_vector=(given or {}).get(user)) for user in user_ids])
        found = np.fromiter((strategy != "popular" for strategy in resolved.strategies), np.bool_, len(user_ids))
        return resolved.vectors, found

    def embed_vectors(self, vectors: Float32Array) -> Float32Array:
        """Transfer source vectors float32 [B, source_dim] to target vectors float32 [B, target_dim].

        Raises:
            InputError: the shape is wrong, or a value is not finite.
        """
        with stage("transfer"):
            return self._resolver.carry(vectors)

    def top_rows(
        self,
        user_ids: Sequence[str],
        k: int,
        *,
        exclude_seen: bool = True,
        diversity: float = 0.0,
        filter: ItemFilter | None = None,
        caps: Caps = (),
        changes: ItemChanges | None = None,
    ) -> TopRows:
        """The answers of :meth:`answer` to plain queries of ``user_ids``, as arrays; raises the same errors."""
        Query(None, k=k, diversity=diversity).check()
        allowed, rules = self.catalogue.allowed(filter, changes), self.catalogue.rules(caps, changes)
        source, warm = self._resolver.rows(user_ids)
        vectors, strategies = self._resolver.known(source, warm)
        seen = self._bundle.target_users.seen_of(warm if exclude_seen else np.full_like(warm, -1))
        rows, scores = self._search.find(
            Wanted(
                vectors,
                k,
                masked=MaskedRows(*seen),
                diversity=np.full(len(vectors), float(diversity)),
                sparse=self._resolver.histories(source, strategies),
                allowed=allowed,
                caps=rules,
            )
        )
        scores = np.where(rows >= 0, self._in_range(scores), scores)
        fallback = np.flatnonzero(strategies == ROW_STRATEGIES.index("popular"))
        self._listing.fill(rows, scores, fallback, allowed=allowed, caps=rules)
        return TopRows(rows, scores, strategies)

    def _in_range(self, scores: Float32Array) -> Float32Array:
        """Clip predicted ratings to the rating range; the order is that before clipping."""
        limits = self._bundle.manifest.scoring.rating_range
        return scores if limits is None else np.clip(scores, np.float32(limits[0]), np.float32(limits[1]))
