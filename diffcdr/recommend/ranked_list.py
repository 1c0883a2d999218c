"""From ranked item rows to the lists of an answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from diffcdr.arrays import Int32Array
from diffcdr.bundle.reader import TargetItems
from diffcdr.recommend.query import FallbackReason, Recommendation, Strategy


class Listing:
    """The target items with ids and titles, and their order of popularity."""

    def __init__(self, items: TargetItems) -> None:
        self._items = items
        self.order: Int32Array = np.argsort(-items.popularity.astype(np.int64), kind="stable").astype(np.int32)
        """Every item row, most rated first, ties in id order."""

    def popular(self, k: int, *, excluded: Int32Array, reason: FallbackReason | None) -> Recommendation:
        """The ``k`` most rated items that are not ``excluded``."""
        # Enough of the head to lose every excluded item and still have k.
        head = self.order[: k + len(excluded)]
        rows = head[~np.isin(head, excluded)][:k] if len(excluded) else head
        return self.of(rows, self._items.popularity[rows], strategy="popular", reason=reason)

    def of(
        self, rows: Int32Array, scores: npt.NDArray[Any], *, strategy: Strategy, reason: FallbackReason | None = None
    ) -> Recommendation:
        """The items in ``rows`` with their ``scores``, by id and title."""
        titles = self._items.titles
        return Recommendation(
            item_ids=self._items.ids.take(rows),
            scores=[float(score) for score in scores.tolist()],
            titles=titles.take(rows) if titles is not None else [None] * len(rows),
            strategy=strategy,
            fallback_reason=reason,
        )
