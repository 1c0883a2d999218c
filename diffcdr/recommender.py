"""From users to ranked lists of target items, and why each list is what it is.

How a query is resolved, first match first:

    opted out (``personalise`` False)             -> popular     reason ``opted_out``
    ratings given with the query, some usable     -> fold_in     closed-form source vector, then transfer
    user with target ratings in training          -> warm        the user's own target vector
    user with a source vector                     -> transfer
    none of these                                 -> popular     reason ``no_usable_history`` or ``unknown_user``

The same exclusions hold on every path, and no answer depends, to the last bit, on the other queries of its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from diffcdr.bundle import Bundle
from diffcdr.errors import BundleError, InputError
from diffcdr.foldin import FoldIn
from diffcdr.topk import MaskedRows, TopK
from diffcdr.transfer import Device, load_transfer

Strategy = Literal["transfer", "fold_in", "warm", "popular"]
FallbackReason = Literal["unknown_user", "no_usable_history", "opted_out"]

Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]

ROW_STRATEGIES: tuple[Strategy, ...] = ("popular", "transfer", "warm")
"""What :attr:`TopRows.strategies` indexes."""


@dataclass(frozen=True, slots=True)
class Query:
    """One request for a ranked list."""

    user_id: str | None
    k: int = 20
    """Length of the list, at least 1."""
    exclude_items: tuple[str, ...] = ()
    """Target item ids never to answer with; unknown ids are ignored."""
    exclude_seen: bool = True
    """Leave out the items the user rated in training (warm users have some)."""
    history: tuple[tuple[str, float], ...] = ()
    """(source item id, rating) pairs for fold-in; takes precedence over what is stored of the user."""
    allow_fallback: bool = True
    """Answer with the popular list where nothing personal is possible; else with :class:`UserUnknown`."""
    personalise: bool = True
    """False for a user who opted out: the popular list, and nothing stored of the user is looked at."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A ranked list, best first. ``item_ids``, ``scores`` and ``titles`` are parallel, at most k long."""

    item_ids: list[str]
    scores: list[float]
    """Predicted score; on the popular list, the item's number of training ratings."""
    titles: list[str | None]
    strategy: Strategy
    fallback_reason: FallbackReason | None


@dataclass(frozen=True, slots=True)
class UserUnknown:
    """The answer to a query that allows no fallback and that nothing personal can be said about."""

    reason: FallbackReason


@dataclass(frozen=True, slots=True)
class TopRows:
    """Ranked item rows of many users, for bulk work.

    ``items``: int32 [B, k], -1 where fewer items are left than k; ``scores``: float32 [B, k];
    ``strategies``: uint8 [B], an index into ``ROW_STRATEGIES``.
    """

    items: Int32Array
    scores: Float32Array
    strategies: npt.NDArray[np.uint8]


class Recommender:
    """Answers queries from one open bundle. Safe to share between threads: nothing changes after construction."""

    def __init__(self, bundle: Bundle, *, device: Device = "auto", threads: int = 1) -> None:
        """Load what ``bundle`` serves with.

        Args:
            bundle: an open bundle.
            device: where a transfer graph runs; a folded map and the scoring always run on the CPU.
            threads: intra-op threads of a transfer graph.

        Raises:
            BundleError: a table holds a value that is not finite, or shapes do not belong together.
            DeviceError, MissingExtraError: as :func:`diffcdr.transfer.load_transfer`.
        """
        _check_tables(bundle)
        self._bundle = bundle
        self._transfer = load_transfer(bundle, device=device, threads=threads)
        self._fold_in = FoldIn(bundle.manifest.fold_in, bundle.source_items) if bundle.manifest.fold_in else None
        items = bundle.target_items
        self._topk = TopK(
            items.vectors,
            items.biases,
            offset=bundle.manifest.scoring.offset,
            typical_norm=_typical_norm(bundle.target_users.vectors),
        )
        self._popular = np.argsort(-items.popularity.astype(np.int64), kind="stable").astype(np.int32)

    @property
    def bundle(self) -> Bundle:
        """What is served."""
        return self._bundle

    @property
    def device(self) -> str:
        """Where the transfer runs: ``cpu`` or ``cuda``."""
        return self._transfer.device

    def recommend(self, queries: Sequence[Query]) -> list[Recommendation | UserUnknown]:
        """Answer ``queries``, in their order. Raises InputError where a ``k`` is below 1."""
        if any(query.k < 1 for query in queries):
            raise InputError("k must be at least 1")
        resolved = self._resolve(queries)
        excluded = self._excluded(queries, resolved.warm_rows)
        personal = [i for i, strategy in enumerate(resolved.strategies) if strategy != "popular"]
        answers: list[Recommendation | UserUnknown | None] = [None] * len(queries)
        if personal:
            k = max(queries[i].k for i in personal)
            rows, scores = self._topk.search(
                resolved.vectors[personal], k, masked=MaskedRows.pack([excluded[i] for i in personal])
            )
            for i, row, score in zip(personal, rows, scores, strict=True):
                count = min(queries[i].k, int(np.count_nonzero(row >= 0)))
                answers[i] = self._listing(row[:count], score[:count], resolved.strategies[i], None)
        return [
            answer if answer is not None else self._fall_back(query, masked, reason)
            for answer, query, masked, reason in zip(answers, queries, excluded, resolved.reasons, strict=True)
        ]

    def popular(self, k: int) -> Recommendation:
        """The ``k`` most rated items, ties in id order; no fallback reason, as it was asked for."""
        return self._popular_list(k, np.empty(0, dtype=np.int32), None)

    def embed_users(self, user_ids: Sequence[str]) -> tuple[Float32Array, npt.NDArray[np.bool_]]:
        """Target vectors float32 [B, target_dim] of ``user_ids`` and found bool [B]; zeros where not found."""
        source, warm = self._rows(user_ids)
        vectors, strategies = self._vectors(source, warm)
        return vectors, strategies != ROW_STRATEGIES.index("popular")

    def embed_vectors(self, vectors: Float32Array) -> Float32Array:
        """Carry source vectors float32 [B, source_dim] to target vectors float32 [B, target_dim].

        Raises:
            InputError: the shape is another, or a value is not finite.
        """
        vectors = np.asarray(vectors, dtype=np.float32)
        dim = self._bundle.manifest.transfer.source_dim
        if vectors.ndim != 2 or vectors.shape[1] != dim:
            raise InputError(f"source vectors must have {dim} values each; got an array of shape {vectors.shape}")
        if not np.isfinite(vectors).all():
            raise InputError("source vectors must hold finite numbers only")
        with np.errstate(over="ignore", invalid="ignore"):
            return self._transfer(vectors)

    def top_rows(self, user_ids: Sequence[str], k: int, *, exclude_seen: bool = True) -> TopRows:
        """What :meth:`recommend` answers for plain queries of ``user_ids``, as arrays."""
        source, warm = self._rows(user_ids)
        vectors, strategies = self._vectors(source, warm)
        seen = self._bundle.target_users.seen_of(warm if exclude_seen else np.full_like(warm, -1))
        rows, scores = self._topk.search(vectors, k, masked=MaskedRows(*seen))
        fallback = np.flatnonzero(strategies == ROW_STRATEGIES.index("popular"))
        width = min(k, len(self._popular))
        rows[fallback] = -1
        rows[fallback, :width] = self._popular[:width]
        scores[fallback] = -np.inf
        scores[fallback, :width] = self._bundle.target_items.popularity[self._popular[:width]]
        return TopRows(rows, scores, strategies)

    def _rows(self, user_ids: Sequence[str]) -> tuple[Int64Array, Int64Array]:
        """Rows of ``user_ids`` among source users and among warm users, -1 where unknown."""
        return self._bundle.source_users.ids.rows(user_ids), self._bundle.target_users.ids.rows(user_ids)

    def _vectors(self, source: Int64Array, warm: Int64Array) -> tuple[Float32Array, npt.NDArray[np.uint8]]:
        """Target vectors [B, target_dim], zero where there is none, and the strategy of each row."""
        vectors = np.zeros((len(source), self._bundle.manifest.transfer.target_dim), dtype=np.float32)
        is_warm = warm >= 0
        vectors[is_warm] = self._bundle.target_users.vectors[warm[is_warm]]
        carried = np.flatnonzero(~is_warm & (source >= 0))
        if len(carried):
            with np.errstate(over="ignore", invalid="ignore"):
                vectors[carried] = self._transfer(self._bundle.source_users.vectors[source[carried]])
        strategies = np.where(is_warm, ROW_STRATEGIES.index("warm"), ROW_STRATEGIES.index("popular")).astype(np.uint8)
        strategies[carried] = ROW_STRATEGIES.index("transfer")
        return vectors, self._drop_not_finite(vectors, strategies)

    def _drop_not_finite(self, vectors: Float32Array, strategies: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Set rows that overflowed to zero, and mark them as having no personal list."""
        broken = ~np.isfinite(vectors).all(axis=1)
        vectors[broken] = 0.0
        return np.where(broken, ROW_STRATEGIES.index("popular"), strategies).astype(np.uint8)

    def _resolve(self, queries: Sequence[Query]) -> _Resolved:
        ids = [(query.user_id or "") if query.personalise else "" for query in queries]
        source, warm = self._rows(ids)
        vectors, codes = self._vectors(source, warm)
        strategies = [ROW_STRATEGIES[code] for code in codes]
        reasons: list[FallbackReason] = ["unknown_user"] * len(queries)
        folded: list[tuple[int, Float32Array]] = []
        for i, query in enumerate(queries):
            if not query.personalise:
                reasons[i] = "opted_out"
            elif query.history:
                reasons[i] = "no_usable_history"
                vector = self._fold_in(query.history) if self._fold_in is not None else None
                if vector is not None:
                    folded.append((i, vector))
        if folded:
            with np.errstate(over="ignore", invalid="ignore"):
                carried = self._transfer(np.stack([vector for _, vector in folded]))
            for (i, _), vector in zip(folded, carried, strict=True):
                if np.isfinite(vector).all():
                    vectors[i], strategies[i] = vector, "fold_in"
        return _Resolved(vectors, strategies, reasons, warm)

    def _excluded(self, queries: Sequence[Query], warm_rows: Int64Array) -> list[Int32Array]:
        """Item rows that each query must not be answered with; may repeat."""
        flat = self._bundle.target_items.ids.rows([item for query in queries for item in query.exclude_items])
        named = np.split(flat, np.cumsum([len(query.exclude_items) for query in queries])[:-1]) if queries else []
        excluded: list[Int32Array] = []
        for query, warm, rows in zip(queries, warm_rows.tolist(), named, strict=True):
            parts = [rows[rows >= 0].astype(np.int32)]
            if query.exclude_seen and warm >= 0:
                parts.append(self._bundle.target_users.seen(warm))
            excluded.append(np.concatenate(parts))
        return excluded

    def _fall_back(self, query: Query, excluded: Int32Array, reason: FallbackReason) -> Recommendation | UserUnknown:
        if not query.allow_fallback and reason != "opted_out":
            return UserUnknown(reason)
        return self._popular_list(query.k, excluded, reason)

    def _popular_list(self, k: int, excluded: Int32Array, reason: FallbackReason | None) -> Recommendation:
        # Enough of the head to lose every excluded item and still have k.
        head = self._popular[: k + len(excluded)]
        rows = head[~np.isin(head, excluded)][:k] if len(excluded) else head
        return self._listing(rows, self._bundle.target_items.popularity[rows], "popular", reason)

    def _listing(
        self, rows: Int32Array, scores: npt.NDArray[Any], strategy: Strategy, reason: FallbackReason | None
    ) -> Recommendation:
        items = self._bundle.target_items
        titles = items.titles
        return Recommendation(
            item_ids=items.ids.take(rows),
            scores=[float(score) for score in scores.tolist()],
            titles=titles.take(rows) if titles is not None else [None] * len(rows),
            strategy=strategy,
            fallback_reason=reason,
        )


@dataclass(frozen=True, slots=True)
class _Resolved:
    vectors: Float32Array
    strategies: list[Strategy]
    reasons: list[FallbackReason]
    """Why the popular list, should it come to that."""
    warm_rows: Int64Array


def _typical_norm(vectors: Float32Array) -> float:
    sample = vectors[:: max(1, len(vectors) // 1000)].astype(np.float64)
    return (float(np.median(np.linalg.norm(sample, axis=1))) if len(sample) else 0.0) or 1.0


def _check_tables(bundle: Bundle) -> None:
    """Refuse tables that cannot be scored, before they answer anyone."""
    transfer = bundle.manifest.transfer
    tables: list[tuple[str, npt.NDArray[Any], tuple[int, ...]]] = [
        ("source_users/vectors", bundle.source_users.vectors, (len(bundle.source_users.ids), transfer.source_dim)),
        ("target_users/vectors", bundle.target_users.vectors, (len(bundle.target_users.ids), transfer.target_dim)),
        ("target_items/vectors", bundle.target_items.vectors, (len(bundle.target_items.ids), transfer.target_dim)),
        ("target_items/biases", bundle.target_items.biases, (len(bundle.target_items.ids),)),
        ("target_items/popularity", bundle.target_items.popularity, (len(bundle.target_items.ids),)),
    ]
    if bundle.manifest.fold_in is not None:  # without fold-in, source items are there for their titles at most
        items, history = bundle.source_items, bundle.manifest.fold_in.history
        width = transfer.source_dim
        if history is not None and items.idf is not None and items.basis is not None:
            width -= history.dim
            tables += [
                ("source_items/idf", items.idf, (len(items.ids),)),
                ("source_items/basis", items.basis, (len(items.ids), history.dim)),
            ]
        tables += [
            ("source_items/vectors", items.vectors, (len(items.ids), width)),
            ("source_items/biases", items.biases, (len(items.ids),)),
        ]
    for name, table, shape in tables:
        if table.shape != shape:
            raise BundleError(f"{name} of bundle {bundle.path} has shape {table.shape}, not {shape}; publish it again")
        if not np.isfinite(table).all():
            raise BundleError(f"{name} of bundle {bundle.path} holds a value that is not finite; train it again")
