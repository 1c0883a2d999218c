"""Why an item is in a list: its score as a sum of shares of the user's ratings (docs/decisions/explanations.md).

    score(u, j) = base_j + sum over source ratings i (c_i J . l_j + w_i S_ij) + target ratings + rest

``c_i`` is the part of rating i in the source vector (:meth:`FoldIn.parts`). ``J`` is the transfer's matrix, or its mean
Jacobian on the line to the user. ``l_j`` is what the user's target ratings leave of the item's vector
(:meth:`Blend.kept`), and ``w_i S_ij`` the sparse term. The query is resolved again on its own, which gives the same
vector that its list was made with. So nothing has to be stored for explanations in advance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from diffcdr.arrays import Float32Array, Float64Array, Int64Array
from diffcdr.bundle.reader import Bundle
from diffcdr.recommend.fold_in import usable_ratings
from diffcdr.recommend.query import (
    NAMED,
    Explanation,
    Query,
    Recommendation,
    SourceShare,
    UnexplainedReason,
    UserUnknown,
)
from diffcdr.recommend.transfer import mean_jacobian
from diffcdr.recommend.user_vectors import Resolved, Resolver
from diffcdr.search.sparse_part import SparsePart
from diffcdr.stage_times import stage

SAME_VECTOR = 1e-3
"""If a stored vector is farther than this, relative to its length, from what the ratings give, they did not make it."""
NO_ROWS: Int64Array = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class _Rated:
    """Source item rows, ascending, and their ratings; ``given``: whether they came with the query."""

    rows: Int64Array
    ratings: Float64Array
    given: bool


@dataclass(frozen=True, slots=True)
class _Way:
    """How the user's vector was computed.

    ``source``: the source vector that was transferred, or None. ``seen``: item rows of target ratings that moved it,
    the last move first; None if target ratings alone make the vector.
    """

    source: Float32Array | None
    rated: _Rated | None
    seen: tuple[Int64Array, ...] | None


class Explainer:
    """Explains the lists of one bundle."""

    def __init__(self, bundle: Bundle, resolver: Resolver) -> None:
        self._bundle, self._resolver = bundle, resolver

    def asked(self, answer: Recommendation | UserUnknown, query: Query) -> Recommendation | UserUnknown:
        """``answer``, explained if ``query`` asks for it."""
        if not query.explain or isinstance(answer, UserUnknown):
            return answer
        with stage("explain"):
            return self.explained(answer, query)

    def explained(self, answer: Recommendation, query: Query) -> Recommendation:
        """``answer`` to ``query`` with an explanation of each item, or with the reason why there is none."""
        found = self._explain(answer, query)
        if isinstance(found, str):
            return replace(answer, unexplained_reason=found)
        return replace(answer, explanations=found)

    def _explain(self, answer: Recommendation, query: Query) -> list[Explanation] | UnexplainedReason:
        if answer.strategy == "popular":
            return "not_personal"
        resolved = self._resolver.resolve([query])
        way = self._way(query, resolved)
        rated = self._spoken(way, resolved.histories)
        if isinstance(rated, str):
            return rated
        rows = self._bundle.target_items.ids.rows(answer.item_ids).astype(np.int64)
        try:
            shares = self._shares(way, rated, resolved, rows, np.array(answer.scores))
        except np.linalg.LinAlgError:  # values near the end of the float range
            return "not_finite"
        if not all(np.isfinite(each).all() for each in (shares.sources, shares.base, shares.own, shares.rest)):
            return "not_finite"
        return self._named(rated, shares)

    def _way(self, query: Query, resolved: Resolved) -> _Way:
        """The steps that :meth:`Resolver.resolve` takes."""
        bundle, resolver = self._bundle, self._resolver
        row, warm = bundle.source_users.ids.row(query.user_id or ""), int(resolved.warm_rows[0])
        brought = resolver.source_likes(query)
        folded = resolver.fold_in(brought) if resolver.fold_in is not None and brought else None
        if folded is not None and np.isfinite(resolver.carry(folded[None])).all():
            source: Float32Array | None = folded
            rated: _Rated | None = _Rated(*usable_ratings(bundle.source_items.ids, brought), given=True)
        else:
            folded, rated = None, self._stored(row)
            source = query.source_vector if warm < 0 else None
            if source is None and row >= 0:
                source = np.asarray(bundle.source_users.vectors[row])
        if resolved.strategies[0] != "warm":
            return _Way(source, rated, ())
        stored = self._stored_way(row, warm) if warm >= 0 and folded is None else ()
        rows, _, _ = resolver.target_likes(query)
        if resolver.blend is None or not len(rows):
            return _Way(source, rated, stored)
        if warm >= 0 and resolver.blend.counts_absence:
            return _Way(source, rated, (np.union1d(rows, bundle.target_users.liked(warm)).astype(np.int64),))
        return _Way(source, rated, None if stored is None else (rows, *stored))

    def _stored(self, row: int) -> _Rated | None:
        """The ratings of the source user in ``row``, if the bundle may show them."""
        history = self._bundle.console.history
        if history is None or row < 0:
            return None
        mine = slice(int(history.indptr[row]), int(history.indptr[row + 1]))
        if mine.start == mine.stop:
            return None
        return _Rated(history.items[mine].astype(np.int64), history.ratings[mine].astype(np.float64), given=False)

    def _stored_way(self, row: int, warm: int) -> tuple[Int64Array, ...] | None:
        """The target ratings that moved the transferred vector to the stored one; None if they made it alone."""
        spec, blend = self._bundle.manifest.warm, self._resolver.blend
        if spec is None or blend is None or spec.stored != "blended" or row < 0:
            return None
        users, seen = self._bundle.target_users, self._bundle.target_users.liked(warm).astype(np.int64)
        if blend.counts_absence:  # needs no rating values, so this can be checked
            start = self._resolver.carry(np.asarray(self._bundle.source_users.vectors[row : row + 1]))[0]
            held = np.asarray(users.vectors[warm], dtype=np.float64)
            if np.linalg.norm(blend(start, seen, np.ones(len(seen))) - held) > SAME_VECTOR * np.linalg.norm(held):
                return None
        return (seen,)

    def _spoken(self, way: _Way, sparse: SparsePart | None) -> _Rated | UnexplainedReason:
        """The source ratings that have a share."""
        added = NO_ROWS if sparse is None else sparse.histories.rows.astype(np.int64)
        dense = way.source is not None and way.seen is not None
        if dense and self._resolver.fold_in is None and sparse is None:
            return "no_item_vectors"
        if not dense and not len(added):
            return _Rated(NO_ROWS, np.empty(0), given=False)
        if way.rated is None or not np.isin(added, way.rated.rows).all():
            return "no_histories"
        return way.rated

    def _line(self, way: _Way, rated: _Rated) -> _Line:
        """The line from a user without ratings to this user, before and after the transfer."""
        transfer, spec = self._resolver.carry, self._bundle.manifest.transfer
        nothing, none = np.zeros(spec.target_dim), np.zeros((len(rated.rows), spec.source_dim))
        flat = np.zeros((spec.source_dim, spec.target_dim))
        if way.source is None or way.seen is None:
            return _Line(nothing, nothing, none, flat)
        reached = transfer(way.source[None])[0].astype(np.float64)
        if self._resolver.fold_in is None:
            return _Line(nothing, reached, none, flat)
        base, parts = self._resolver.fold_in.parts(rated.rows, rated.ratings)
        began = base.astype(np.float32)
        if self._bundle.affine is not None:
            jacobian = np.asarray(self._bundle.affine[0], dtype=np.float64)
        else:
            jacobian = mean_jacobian(transfer, began, way.source)
        return _Line(transfer(began[None])[0].astype(np.float64), reached, parts, jacobian)

    def _shares(self, way: _Way, rated: _Rated, resolved: Resolved, items: Int64Array, scores: Float64Array) -> _Shares:
        """The shares of the scores of ``items``."""
        table, line = self._bundle.target_items, self._line(way, rated)
        vectors = np.asarray(table.vectors[items], dtype=np.float64).T
        left = vectors if way.seen is not None else np.zeros_like(vectors)
        for rows in way.seen or ():
            assert self._resolver.blend is not None  # it moved the vector
            left = self._resolver.blend.kept(rows, left)
        sources = line.parts @ (line.jacobian @ left)
        if resolved.histories is not None:
            sources += _sparse_shares(resolved.histories, rated.rows, items)
        base = table.biases[items].astype(np.float64) + self._bundle.manifest.scoring.offset + line.began @ left
        moved = way.seen is None or len(way.seen) > 0
        own = resolved.vectors[0].astype(np.float64) @ vectors - line.reached @ left if moved else np.zeros(len(items))
        return _Shares(sources, base, own, scores - base - own - sources.sum(axis=0))

    def _named(self, rated: _Rated, shares: _Shares) -> list[Explanation]:
        """The explanation of each score, with its ``NAMED`` largest sources by name."""
        table = self._bundle.source_items
        best = np.argsort(-shares.sources, axis=0, kind="stable")[:NAMED].T
        amounts = np.take_along_axis(shares.sources.T, best, axis=1)
        counts = np.count_nonzero(amounts > 0, axis=1).tolist()
        places = np.unique(best)
        rows = rated.rows[places]
        titles = table.titles.take(rows) if table.titles is not None else [None] * len(rows)
        told = zip(table.ids.take(rows), titles, rated.ratings[places].tolist(), strict=True)
        named = dict(zip(places.tolist(), told, strict=True))
        others = shares.sources.sum(axis=0) - np.where(amounts > 0, amounts, 0.0).sum(axis=1)
        rests = zip(others.tolist(), shares.own.tolist(), shares.base.tolist(), shares.rest.tolist(), strict=True)
        found: list[Explanation] = []
        for mine, shared, count, rest in zip(best.tolist(), amounts.tolist(), counts, rests, strict=True):
            sources = []
            for place, share in zip(mine[:count], shared[:count], strict=True):
                item, title, rating = named[place]
                sources.append(SourceShare(item, title, rating, share))
            found.append(Explanation(tuple(sources), *rest))
        return found


@dataclass(frozen=True, slots=True)
class _Line:
    """Target vectors of a user without ratings (``began``) and of this user (``reached``); the parts [H, source_dim] of
    source ratings in this user's source vector; and the transfer's Jacobian [source_dim, target_dim]."""

    began: Float64Array
    reached: Float64Array
    parts: Float64Array
    jacobian: Float64Array


@dataclass(frozen=True, slots=True)
class _Shares:
    """The shares of n scores: ``sources`` [H, n], and ``base``, ``own`` (target ratings) and ``rest`` [n]."""

    sources: Float64Array
    base: Float64Array
    own: Float64Array
    rest: Float64Array


def _sparse_shares(part: SparsePart, rows: Int64Array, items: Int64Array) -> Float64Array:
    """w_i S_ij of source item ``rows`` [H], which include those of the one user of ``part``, and ``items`` [n]."""
    table, own = part.neighbours, part.histories.rows.astype(np.int64)
    touched, addends = table.entries(own, table.weights(part.histories))
    owners = np.repeat(np.searchsorted(rows, own), table.indptr[own + 1] - table.indptr[own])
    order = np.argsort(items)
    places = np.minimum(np.searchsorted(items[order], touched), len(items) - 1)
    hit = items[order][places] == touched
    shares = np.zeros((len(rows), len(items)))
    shares[owners[hit], order[places[hit]]] = addends[hit]
    return shares
