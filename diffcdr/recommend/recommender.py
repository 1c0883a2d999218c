"""From users to ranked lists of target items, and why each list is what it is.

How a query is resolved, first match first:

    opted out (``personalise`` False)             -> popular     reason ``opted_out``, or ``state_unavailable``
    target ratings given, some usable             -> warm        what follows, moved by them (``warm_start.py``)
    source ratings given, some usable             -> fold_in     closed-form source vector, then transfer
    user with target ratings in training          -> warm        the user's own target vector
    user with a source vector                     -> transfer
    none of these                                 -> popular     reason ``no_usable_history`` or ``unknown_user``

Target ratings of a user of whom nothing else is known move the vector zero, at which every user has the same list.

Personal lists go by score, or are more diverse where the query asks for it. The same exclusions hold on every path,
and no answer depends, to the last bit, on the other queries of its batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from diffcdr.arrays import Float32Array, Float64Array, Int32Array
from diffcdr.bundle.check import check_tables
from diffcdr.bundle.reader import Bundle
from diffcdr.device.health import DeviceHealth
from diffcdr.device.names import Device
from diffcdr.device.placement import Placement
from diffcdr.errors import BundleError, DeviceError, InputError
from diffcdr.recommend.explain import Explainer
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
from diffcdr.recommend.user_vectors import NO_ITEMS, Resolved, Resolver
from diffcdr.search.approximate import open_search
from diffcdr.search.device_search import DeviceTopK
from diffcdr.search.diversity import diversify, pool_size
from diffcdr.search.placing import search_on
from diffcdr.search.sparse_part import SparsePart
from diffcdr.search.topk import MaskedRows, TopK, typical_norm
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


NONE_GIVEN: Mapping[str, Float32Array] = MappingProxyType({})

SHORT = 100
"""Longer lists are searched for apart: 500 items take some four times as long as 20, and no neighbour is to wait."""
TYPICAL_USERS = 256
"""Whose vectors' lengths the top-k search is laid out for."""


class Recommender:
    """Answers queries from one open bundle. Safe to share between threads: nothing changes after construction."""

    def __init__(
        self, bundle: Bundle, *, device: Device = "auto", threads: int = 1, search_device: Device = "auto"
    ) -> None:
        """Load what ``bundle`` serves with.

        Args:
            bundle: an open bundle.
            device: where a transfer graph runs, and, where it pays, the search; a folded map always runs on the CPU.
            threads: intra-op threads of a transfer graph.
            search_device: ``auto`` follows ``device`` where that is faster, ``cpu`` stays there, ``cuda`` must be.

        Raises:
            BundleError: a table holds a value that is not finite, or shapes do not belong together.
            DeviceError, MissingExtraError: as :func:`diffcdr.recommend.transfer.load_transfer`.
        """
        check_tables(bundle)
        self._bundle = bundle
        self.health = DeviceHealth()
        """What failed on the GPU, and was computed on the CPU."""
        self._resolver = Resolver(bundle, device=device, threads=threads, health=self.health)
        items = bundle.target_items
        sample = self.sampled_vectors(TYPICAL_USERS)
        exact = TopK(
            items.vectors, items.biases, offset=bundle.manifest.scoring.offset, typical_norm=typical_norm(sample)
        )
        listed = open_search(exact, items.index, bundle.manifest.search, bundle=bundle.path)
        self._stage = "topk" if listed is exact else "approximate"
        if bundle.manifest.sparse is not None:
            check_searchable(bundle, search_device)
            search_device = "cpu"
        placed = search_on(
            search_device, listed, items=items, device=device, sample=sample, health=self.health, bundle=bundle.path
        )
        self._exact = placed if isinstance(placed, DeviceTopK) else exact
        self._topk = placed
        self._listing = Listing(items)
        self._explainer = Explainer(bundle, self._resolver)

    @property
    def bundle(self) -> Bundle:
        """What is served."""
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
        """Where the search runs now, for as many users as it pays for: ``cpu`` or ``cuda:N``."""
        return "cpu" if self.health.lost is not None else self._topk.device

    def compile(self) -> None:
        """As :meth:`TopK.compile`; for very many users, never another answer."""
        if isinstance(self._exact, TopK):
            self._exact.compile(self._resolver.neighbours)
        else:  # never of a bundle with a sparse term
            self._exact.compile()

    def recommend(self, user_id: str, *, k: int = 20, **wishes: Any) -> Recommendation:
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
            user_id: of the source domain, of the target domain, or unknown: then the list is the popular one.
            k: length of the list, at least 1.
            wishes: further fields of :class:`Query`, such as ``history``, ``exclude_items``, ``diversity`` or
                ``explain``.

        Raises:
            InputError: ``k`` is below 1, ``offset`` below 0, ``diversity`` is not between 0 and 1, or nothing is known
                about the user and ``allow_fallback`` is False.
        """
        (answer,) = self.answer([Query(user_id, k=k, **wishes)])
        if isinstance(answer, UserUnknown):
            raise InputError(f"nothing is known about {user_id!r} ({answer.reason}), and a popular list was ruled out")
        return answer

    def recommend_many(
        self, user_ids: Sequence[str], *, k: int = 20, exclude_seen: bool = True, diversity: float = 0.0
    ) -> pl.DataFrame:
        """The ``k`` best items of many users, a row per place: user_id, rank (from 1), item_id, score, strategy.

        Users are answered in blocks; each answer is that of :meth:`recommend`. Raises as it does.

        >>> lists = recommender.recommend_many(["ann", "a new user"], k=3)
        >>> lists.columns
        ['user_id', 'rank', 'item_id', 'score', 'strategy']
        >>> lists["strategy"].to_list()
        ['transfer', 'transfer', 'transfer', 'popular', 'popular', 'popular']
        """
        options = ScoreOptions(k=k, exclude_seen=exclude_seen, diversity=diversity)
        return ranked_table(self, user_ids, options)

    def embed(self, user_ids: Sequence[str]) -> Float32Array:
        """Target vectors float32 [B, target_dim] of ``user_ids``; NaN where a user is unknown.

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
            InputError: a ``k`` is below 1, an ``offset`` below 0, or a ``diversity`` is not between 0 and 1.
        """
        for query in queries:
            _check(query.k, query.diversity, offset=query.offset or 0)
        found = self._answer([whole(query, prefixes=self._topk.prefixes) for query in queries])
        return [self._explained(page(answer, query), query) for answer, query in zip(found, queries, strict=True)]

    def _explained(self, answer: Recommendation | UserUnknown, query: Query) -> Recommendation | UserUnknown:
        if not query.explain or isinstance(answer, UserUnknown):
            return answer
        with stage("explain"):
            return self._explainer.explained(answer, query)

    def _answer(self, queries: Sequence[Query]) -> list[Recommendation | UserUnknown]:
        with stage("transfer"):
            resolved = self._resolver.resolve(queries)
        excluded = self._excluded(queries, resolved)
        personal = [i for i, strategy in enumerate(resolved.strategies) if strategy != "popular"]
        answers: list[Recommendation | UserUnknown | None] = [None] * len(queries)
        for group in _searched_together(queries, personal, alike=self._topk.prefixes):
            with stage(self._stage):
                rows, scores = self._search(
                    resolved.vectors[group],
                    max(queries[i].k for i in group),
                    masked=MaskedRows.pack([excluded[i] for i in group]),
                    diversity=np.array([queries[i].diversity for i in group]),
                    sparse=None if resolved.histories is None else resolved.histories.of(np.array(group)),
                )
            for i, row, score in zip(group, rows, scores, strict=True):
                count = min(queries[i].k, int(np.count_nonzero(row >= 0)))
                answers[i] = self._listing.of(
                    row[:count], self._in_range(score[:count]), strategy=resolved.strategies[i]
                )
        return [
            answer if answer is not None else self._fall_back(query, masked, reason)
            for answer, query, masked, reason in zip(answers, queries, excluded, resolved.reasons, strict=True)
        ]

    def popular(self, k: int) -> Recommendation:
        """The ``k`` most rated items, ties in id order; no fallback reason, as it was asked for."""
        return self._listing.popular(k, excluded=NO_ITEMS, reason=None)

    def sampled_vectors(self, count: int) -> Float32Array:
        """Target vectors of about ``count`` source users, at even distances in the table: whom this bundle is for.

        float32 [B, target_dim], finite; fewer where there are fewer users.
        """
        users = len(self._bundle.source_users.ids)
        rows = np.arange(0, users, max(1, users // count))
        vectors, _ = self._resolver.known(rows, np.full(len(rows), -1))
        return vectors

    def embed_users(
        self, user_ids: Sequence[str], *, given: Mapping[str, Float32Array] = NONE_GIVEN
    ) -> tuple[Float32Array, npt.NDArray[np.bool_]]:
        """Target vectors float32 [B, target_dim] of ``user_ids`` and found bool [B]; zeros where not found.

        ``given``: source vectors of users, where they are kept outside of the bundle.
        """
        with stage("transfer"):
            resolved = self._resolver.resolve([Query(user, source_vector=given.get(user)) for user in user_ids])
        found = np.fromiter((strategy != "popular" for strategy in resolved.strategies), np.bool_, len(user_ids))
        return resolved.vectors, found

    def embed_vectors(self, vectors: Float32Array) -> Float32Array:
        """Carry source vectors float32 [B, source_dim] to target vectors float32 [B, target_dim].

        Raises:
            InputError: the shape is another, or a value is not finite.
        """
        with stage("transfer"):
            return self._resolver.carry(vectors)

    def top_rows(
        self, user_ids: Sequence[str], k: int, *, exclude_seen: bool = True, diversity: float = 0.0
    ) -> TopRows:
        """What :meth:`answer` finds for plain queries of ``user_ids``, as arrays; raises as it does."""
        _check(k, diversity)
        source, warm = self._resolver.rows(user_ids)
        vectors, strategies = self._resolver.known(source, warm)
        seen = self._bundle.target_users.seen_of(warm if exclude_seen else np.full_like(warm, -1))
        rows, scores = self._search(
            vectors,
            k,
            masked=MaskedRows(*seen),
            diversity=np.full(len(vectors), float(diversity)),
            sparse=self._resolver.histories(source, strategies),
        )
        scores = np.where(rows >= 0, self._in_range(scores), scores)
        fallback = np.flatnonzero(strategies == ROW_STRATEGIES.index("popular"))
        popular = self._listing.order[:k]
        rows[fallback] = -1
        rows[fallback, : len(popular)] = popular
        scores[fallback] = -np.inf
        scores[fallback, : len(popular)] = self._bundle.target_items.popularity[popular]
        return TopRows(rows, scores, strategies)

    def _in_range(self, scores: Float32Array) -> Float32Array:
        """Predicted ratings within the rating range; items are in the order of what was predicted before."""
        limits = self._bundle.manifest.scoring.rating_range
        return scores if limits is None else np.clip(scores, np.float32(limits[0]), np.float32(limits[1]))

    def _search(
        self,
        vectors: Float32Array,
        k: int,
        *,
        masked: MaskedRows,
        diversity: Float64Array,
        sparse: SparsePart | None,
    ) -> tuple[Int32Array, Float32Array]:
        """The lists of ``vectors`` [B, dim], as :meth:`TopK.search`; ``diversity`` [B] is zero for all or for none."""
        wanted = pool_size(k, self._topk.n_items) if diversity.any() else k
        if isinstance(self._topk, TopK):
            pool, scores = self._topk.search(vectors, wanted, masked=masked, sparse=sparse)
        else:  # never of a bundle with a sparse term
            pool, scores = self._topk.search(vectors, wanted, masked=masked)
        if not diversity.any():
            return pool, scores
        return diversify(pool, scores, self._bundle.target_items.vectors, k=k, diversity=diversity)

    def _excluded(self, queries: Sequence[Query], resolved: Resolved) -> list[Int32Array]:
        """Item rows that each query must not be answered with; may repeat."""
        named = [NO_ITEMS] * len(queries)
        if any(query.exclude_items for query in queries):
            flat = self._bundle.target_items.ids.rows([item for query in queries for item in query.exclude_items])
            named = np.split(flat, np.cumsum([len(query.exclude_items) for query in queries])[:-1])
        excluded: list[Int32Array] = []
        for query, warm, rated, rows in zip(queries, resolved.warm_rows.tolist(), resolved.rated, named, strict=True):
            if warm < 0 and not len(rows) and not len(rated):
                excluded.append(NO_ITEMS)
                continue
            parts = [rows[rows >= 0].astype(np.int32)]
            if query.exclude_seen:
                parts.append(rated)
            if query.exclude_seen and warm >= 0:
                parts.append(self._bundle.target_users.seen(warm))
            excluded.append(np.concatenate(parts))
        return excluded

    def _fall_back(self, query: Query, excluded: Int32Array, reason: FallbackReason) -> Recommendation | UserUnknown:
        if not query.allow_fallback and reason != "opted_out":
            return UserUnknown(reason)
        return self._listing.popular(query.k, excluded=excluded, reason=reason)


def check_searchable(bundle: Bundle, device: Device) -> None:
    """Refuse what cannot add a sparse term: an item index, or a GPU that must be used."""
    if bundle.manifest.search is not None:
        raise BundleError(f"bundle {bundle.path} has a sparse term and an item index; publish it without the index")
    if device not in ("auto", "cpu"):
        raise DeviceError(
            f"bundle {bundle.path} scores with a sparse term, which is searched on the CPU; set the search's device to "
            "auto or cpu"
        )


def _searched_together(queries: Sequence[Query], chosen: Sequence[int], *, alike: bool) -> list[list[int]]:
    """Places of ``chosen`` queries that one search answers: short plain ones, long ones, and diverse ones of one ``k``.

    Where a shorter list is not ``alike`` the beginning of a longer one, plain ones of one ``k``, too.
    """
    groups: dict[tuple[bool, int], list[int]] = {}
    for i in chosen:
        diverse = queries[i].diversity > 0.0
        k = queries[i].k
        groups.setdefault((diverse, int(k > SHORT) if alike and not diverse else k), []).append(i)
    return list(groups.values())


def _check(k: int, diversity: float, *, offset: int = 0) -> None:
    if offset < 0:
        raise InputError("offset must be at least 0")
    if k < 1:
        raise InputError("k must be at least 1")
    if not 0.0 <= diversity <= 1.0:
        raise InputError(f"diversity must lie between 0 and 1, and is {diversity}")
