"""Resolves queries to target vectors, with the strategy that gave each one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from diffcdr.arrays import Float32Array, Float64Array, Int32Array, Int64Array, UInt8Array
from diffcdr.bundle.reader import Bundle
from diffcdr.device.health import DeviceHealth
from diffcdr.device.names import Device
from diffcdr.device.placement import Placement
from diffcdr.errors import InputError
from diffcdr.recommend.fold_in import LARGEST_RATING, FoldIn, known_ratings, usable_ratings
from diffcdr.recommend.query import ROW_STRATEGIES, FallbackReason, Query, Strategy
from diffcdr.recommend.transfer import load_transfer
from diffcdr.recommend.user_histories import UserHistories
from diffcdr.recommend.warm_start import Blend
from diffcdr.search.sparse_part import Neighbours, SparsePart

ALONE_ROWS = 8_192
"""Source items transferred at a time."""
NO_ITEMS: Int32Array = np.empty(0, dtype=np.int32)


@dataclass(frozen=True, slots=True)
class Resolved:
    """The user side of B queries before any item is scored.

    ``vectors``: float32 [B, target_dim], zero if no personal list is possible; ``warm_rows``: int64 [B], rows
    among the target users, -1 where unknown.
    """

    vectors: Float32Array
    strategies: list[Strategy]
    reasons: list[FallbackReason]
    """The reason for the popular list, if it is used."""
    warm_rows: Int64Array
    rated: list[Int32Array]
    """Target item rows rated in each query."""
    histories: SparsePart | None = None
    """What the users' source items add to the scores, if the bundle has a sparse term."""


class Resolver:
    """The user side of one bundle: stored vectors, fold-in and the transfer."""

    def __init__(self, bundle: Bundle, *, device: Device, threads: int, health: DeviceHealth) -> None:
        """Raises like :class:`diffcdr.recommend.recommender.Recommender`."""
        self._bundle = bundle
        self._transfer = load_transfer(bundle, device=device, threads=threads, health=health)
        manifest, items = bundle.manifest, bundle.target_items
        self.fold_in = FoldIn(manifest.fold_in, bundle.source_items) if manifest.fold_in else None
        """Source vectors from given ratings, if the bundle has a rule for them."""
        self._histories = UserHistories.of(bundle)
        self.blend = (
            Blend(manifest.warm, items.vectors, items.biases, offset=manifest.scoring.offset) if manifest.warm else None
        )
        """How target ratings move a vector, if they do."""

    @property
    def placement(self) -> Placement:
        """Where the transfer runs now."""
        return self._transfer.placement

    def carry(self, vectors: Float32Array) -> Float32Array:
        """Source vectors float32 [B, source_dim] to target vectors float32 [B, target_dim].

        Raises:
            InputError: the shape is wrong, or a value is not finite.
        """
        vectors = np.asarray(vectors, dtype=np.float32)
        dim = self._bundle.manifest.transfer.source_dim
        if vectors.ndim != 2 or vectors.shape[1] != dim:
            raise InputError(f"source vectors must have {dim} values each; got an array of shape {vectors.shape}")
        if not np.isfinite(vectors).all():
            raise InputError("source vectors must hold finite numbers only")
        return self._transfer(vectors)

    def source_likes(self, query: Query) -> Sequence[tuple[str, float]]:
        """The query's source ratings that count as likes."""
        likes = self._bundle.manifest.likes
        return query.history if likes is None else [pair for pair in query.history if pair[1] >= likes.source]

    def target_likes(self, query: Query) -> tuple[Int64Array, Float64Array, Int64Array]:
        """Rows and ratings of the query's target ratings that count as likes, and rows of all known ones."""
        rows, ratings = known_ratings(self._bundle.target_items.ids, query.target_history)
        likes = self._bundle.manifest.likes
        liked = np.ones(len(rows), dtype=np.bool_) if likes is None else ratings >= likes.target
        return rows[liked], ratings[liked], rows

    def rows(self, user_ids: Sequence[str]) -> tuple[Int64Array, Int64Array]:
        """Rows of ``user_ids`` among source users and among warm users, -1 where unknown."""
        return self._bundle.source_users.ids.rows(user_ids), self._bundle.target_users.ids.rows(user_ids)

    def known(self, source: Int64Array, warm: Int64Array) -> tuple[Float32Array, UInt8Array]:
        """Target vectors [B, target_dim], zero if there is none, and the strategy of each row."""
        vectors = np.zeros((len(source), self._bundle.manifest.transfer.target_dim), dtype=np.float32)
        is_warm = warm >= 0
        vectors[is_warm] = self._bundle.target_users.vectors[warm[is_warm]]
        carried = np.flatnonzero(~is_warm & (source >= 0))
        if len(carried):
            vectors[carried] = self._transfer(self._bundle.source_users.vectors[source[carried]])
        strategies = np.where(is_warm, ROW_STRATEGIES.index("warm"), ROW_STRATEGIES.index("popular")).astype(np.uint8)
        strategies[carried] = ROW_STRATEGIES.index("transfer")
        return vectors, _drop_not_finite(vectors, strategies)

    def sampled(self, count: int) -> Float32Array:
        """Target vectors of about ``count`` source users, at even distances in the table."""
        users = len(self._bundle.source_users.ids)
        rows = np.arange(0, users, max(1, users // count))
        return self.known(rows, np.full(len(rows), -1))[0]

    @property
    def neighbours(self) -> Neighbours | None:
        """The table of the sparse term, if scores have one."""
        return None if self._histories is None else self._histories.neighbours

    def histories(self, source: Int64Array, strategies: UInt8Array) -> SparsePart | None:
        """The sparse part of the scores of users from :meth:`known`; None without a sparse term."""
        if self._histories is None:
            return None
        warm = (strategies == ROW_STRATEGIES.index("warm")).tolist()
        return self._histories.part(source, warm=warm, given=[None] * len(source))

    def alone(self, rows: Int64Array) -> Float32Array | None:
        """What a history of each source item in ``rows`` alone adds to a target vector, float32 [n, target_dim].

        None if the bundle folds no ratings in, or if without ratings nothing determines a source vector.
        """
        if self.fold_in is None:
            return None
        try:
            base, parts = self.fold_in.alone(rows)
        except np.linalg.LinAlgError:
            return None
        nobody = self.carry(base.astype(np.float32)[None])
        blocks = [
            self.carry((base + parts[start : start + ALONE_ROWS]).astype(np.float32)) - nobody
            for start in range(0, len(rows), ALONE_ROWS)
        ]
        found = np.concatenate([np.empty((0, nobody.shape[1]), dtype=np.float32), *blocks])
        return np.where(np.isfinite(found).all(axis=1, keepdims=True), found, np.float32(0.0))

    def resolve(self, queries: Sequence[Query]) -> Resolved:
        """Resolve each query by the first path that applies (see :mod:`diffcdr.recommend.recommender`)."""
        ids = [(query.user_id or "") if query.personalise else "" for query in queries]
        source, warm = self.rows(ids)
        vectors, codes = self.known(source, warm)
        strategies = [ROW_STRATEGIES[code] for code in codes]
        reasons: list[FallbackReason] = [query.unknown_reason for query in queries]
        given: dict[int, tuple[Float32Array, Strategy]] = {}
        for i, query in enumerate(queries):
            if not query.personalise:
                reasons[i] = query.denied_reason
                continue
            if query.source_vector is not None and warm[i] < 0:
                given[i] = query.source_vector, "transfer"
            if query.history:
                reasons[i] = "no_usable_history"
                vector = self.fold_in(self.source_likes(query)) if self.fold_in is not None else None
                if vector is not None:
                    given[i] = vector, "fold_in"
        if given:
            carried = self._transfer(np.stack([vector for vector, _ in given.values()]))
            for (i, (_, strategy)), vector in zip(given.items(), carried, strict=True):
                if np.isfinite(vector).all():
                    vectors[i], strategies[i] = vector, strategy
        resolved = Resolved(vectors, strategies, reasons, warm, [NO_ITEMS] * len(queries))
        for i, query in enumerate(queries):
            if query.personalise and query.target_history:
                self._warm_up(resolved, i, query, source=int(source[i]))
        if self._histories is None:
            return resolved
        return replace(resolved, histories=self._part(self._histories, queries, resolved, source))

    def _part(
        self, histories: UserHistories, queries: Sequence[Query], resolved: Resolved, source: Int64Array
    ) -> SparsePart:
        """The sparse part by the source of each vector: a given history, or the stored one of a source user."""
        given: list[Int32Array | None] = [None] * len(queries)
        for i, query in enumerate(queries):
            if query.personalise and query.history and self.fold_in is not None:
                brought = usable_ratings(self._bundle.source_items.ids, self.source_likes(query))[0].astype(np.int32)
                given[i] = brought if len(brought) else None
        return histories.part(source, warm=[each == "warm" for each in resolved.strategies], given=given)

    def _warm_up(self, resolved: Resolved, i: int, query: Query, *, source: int) -> None:
        """Move the vector of query ``i`` by the target ratings that came with it."""
        if resolved.strategies[i] == "popular":
            resolved.reasons[i] = "no_usable_history"
        rows, ratings, rated = self.target_likes(query)
        resolved.rated[i] = rated.astype(np.int32)
        if self.blend is None or not len(rows):
            return
        limits = self._bundle.manifest.scoring.rating_range or (-LARGEST_RATING, LARGEST_RATING)
        ratings = np.clip(ratings, *limits)
        start, warm = resolved.vectors[i], int(resolved.warm_rows[i])
        if warm >= 0 and self.blend.counts_absence:
            # Items not given count as not liked. So the items rated in training are added, with a prior that does
            # not include them.
            rows = np.union1d(rows, self._bundle.target_users.liked(warm))
            ratings = np.ones(len(rows))
            if resolved.strategies[i] == "warm":
                start = self._prior(source)
        with np.errstate(over="ignore"):
            moved = self.blend(start, rows, ratings).astype(np.float32)
        if np.isfinite(moved).all():
            resolved.vectors[i], resolved.strategies[i] = moved, "warm"

    def _prior(self, source: int) -> Float32Array:
        """The vector of the source user in row ``source`` (-1 for none) without target ratings, [target_dim]."""
        if source >= 0:
            carried: Float32Array = self._transfer(self._bundle.source_users.vectors[source : source + 1])[0]
            if np.isfinite(carried).all():
                return carried
        return np.zeros(self._bundle.manifest.transfer.target_dim, dtype=np.float32)


def excluded_rows(bundle: Bundle, queries: Sequence[Query], resolved: Resolved) -> list[Int32Array]:
    """Item rows excluded from each query's list; may repeat."""
    named = [NO_ITEMS] * len(queries)
    if any(query.exclude_items for query in queries):
        flat = bundle.target_items.ids.rows([item for query in queries for item in query.exclude_items])
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
            parts.append(bundle.target_users.seen(warm))
        excluded.append(np.concatenate(parts))
    return excluded


def _drop_not_finite(vectors: Float32Array, strategies: UInt8Array) -> UInt8Array:
    """Set rows that overflowed to zero, and mark them as having no personal list."""
    broken = ~np.isfinite(vectors).all(axis=1)
    vectors[broken] = 0.0
    return np.where(broken, ROW_STRATEGIES.index("popular"), strategies).astype(np.uint8)
