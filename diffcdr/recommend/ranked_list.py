"""Turns ranked item rows into the lists of an answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from diffcdr.arrays import Float32Array, Int32Array, Int64Array
from diffcdr.bundle.reader import TargetItems
from diffcdr.filtering.capped_lists import capped_order
from diffcdr.filtering.caps import CapRules
from diffcdr.filtering.catalogue import Allowed
from diffcdr.recommend.query import EmptyReason, FallbackReason, Query, Recommendation, Strategy, UserUnknown
from diffcdr.recommend.user_vectors import NO_ITEMS

FIRST_LOOK = 4_096
"""How many of the most rated items are first checked for allowed ones; then four times as many, and so on."""


class Listing:
    """The target items with ids and titles, and their order of popularity."""

    def __init__(self, items: TargetItems) -> None:
        self._items = items
        self.order: Int32Array = np.argsort(-items.popularity.astype(np.int64), kind="stable").astype(np.int32)
        """Every item row, most rated first, ties in id order."""

    def popular(
        self,
        k: int,
        *,
        excluded: Int32Array,
        reason: FallbackReason | None,
        allowed: Allowed | None = None,
        caps: CapRules | None = None,
    ) -> Recommendation:
        """The ``k`` most rated items that are ``allowed`` and not ``excluded``, as far as ``caps`` admit them."""
        rows = self.most_rated(k, excluded=excluded, allowed=allowed, caps=caps)
        return self.of(rows, self._items.popularity[rows], strategy="popular", reason=reason, allowed=allowed)

    def fall_back(
        self,
        query: Query,
        reason: FallbackReason,
        *,
        excluded: Int32Array,
        allowed: Allowed | None,
        caps: CapRules | None,
    ) -> Recommendation | UserUnknown:
        """The answer if no personal list is possible, for this ``reason``."""
        if not query.allow_fallback and reason != "opted_out":
            return UserUnknown(reason)
        return self.popular(query.k, excluded=excluded, reason=reason, allowed=allowed, caps=caps)

    def fill(
        self,
        rows: Int32Array,
        scores: Float32Array,
        users: Int64Array,
        *,
        allowed: Allowed | None,
        caps: CapRules | None,
    ) -> None:
        """Put the most rated items that are ``allowed`` into the lists [B, k] of ``users``, in place."""
        popular = self.most_rated(rows.shape[1], excluded=NO_ITEMS, allowed=allowed, caps=caps)
        rows[users], scores[users] = -1, -np.inf
        rows[users, : len(popular)] = popular
        scores[users, : len(popular)] = self._items.popularity[popular]

    def most_rated(
        self, k: int, *, excluded: Int32Array, allowed: Allowed | None, caps: CapRules | None = None
    ) -> Int32Array:
        """Rows of the ``k`` most rated items that are ``allowed`` and not ``excluded``, most rated first."""
        if caps is not None:
            return self._most_rated_capped(k, caps, excluded=excluded, allowed=allowed)
        # Enough items to remove every excluded one and still have k.
        needed = k + len(excluded)
        if allowed is None:
            head = self.order[:needed]
        else:
            parts: list[Int32Array] = []
            start, step = 0, max(needed, FIRST_LOOK)
            while start < len(self.order) and sum(map(len, parts)) < needed:
                parts.append(allowed.rows(self.order, start=start, stop=start + step))
                start, step = start + step, 4 * step
            head = np.concatenate([np.empty(0, dtype=np.int32), *parts])[:needed]
        return head[~np.isin(head, excluded)][:k] if len(excluded) else head

    def _most_rated_capped(
        self, k: int, caps: CapRules, *, excluded: Int32Array, allowed: Allowed | None
    ) -> Int32Array:
        tally, found = caps.tally(), np.empty(0, dtype=np.int32)
        for start in range(0, len(self.order), FIRST_LOOK):
            stop = start + FIRST_LOOK
            part = self.order[start:stop] if allowed is None else allowed.rows(self.order, start=start, stop=stop)
            part = part[~np.isin(part, excluded)]
            found = np.concatenate([found, capped_order(part, caps, tally, k=k - len(found))])
            if len(found) == k:
                break
        return found

    def of(
        self,
        rows: Int32Array,
        scores: npt.NDArray[Any],
        *,
        strategy: Strategy,
        reason: FallbackReason | None = None,
        allowed: Allowed | None = None,
    ) -> Recommendation:
        """The items in ``rows`` with their ``scores``, by id and title; ``allowed``: the items to choose from."""
        titles = self._items.titles
        return Recommendation(
            item_ids=self._items.ids.take(rows),
            scores=[float(score) for score in scores.tolist()],
            titles=titles.take(rows) if titles is not None else [None] * len(rows),
            strategy=strategy,
            fallback_reason=reason,
            empty_reason=None if len(rows) else self._why_empty(allowed),
        )

    def _why_empty(self, allowed: Allowed | None) -> EmptyReason:
        if allowed is not None and allowed.unknown:
            return "availability_unknown"
        nothing = not len(self.order) or (allowed is not None and allowed.nothing)
        return "no_item_allowed" if nothing else "all_excluded"
