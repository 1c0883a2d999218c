"""The source items over which the sparse term of a user's scores is summed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from diffcdr.arrays import Int32Array, Int64Array
from diffcdr.bundle.reader import Bundle
from diffcdr.search.sparse_part import Histories, Neighbours, SparsePart


class UserHistories:
    """The sparse term of one bundle, and the stored histories of its source users."""

    def __init__(self, neighbours: Neighbours, stored: Histories, *, warm: bool) -> None:
        """``warm``: whether users with target ratings keep the term of their source history."""
        self.neighbours = neighbours
        """The table that all parts share."""
        self._stored = stored
        self._warm = warm

    @classmethod
    def of(cls, bundle: Bundle) -> Self | None:
        """The histories of ``bundle``; None if its scores have no sparse term."""
        tables, spec, warm = bundle.neighbours, bundle.manifest.sparse, bundle.manifest.warm
        if tables is None or spec is None:
            return None
        neighbours = Neighbours(
            item_weights=tables.item_weights,
            length_power=spec.length_power,
            indptr=tables.indptr,
            items=tables.items,
            values=tables.values,
            n_items=len(bundle.target_items.ids),
        )
        stored = Histories(tables.user_indptr, tables.user_items)
        return cls(neighbours, stored, warm=warm is None or warm.sparse)

    def part(self, source: Int64Array, *, warm: Sequence[bool], given: Sequence[Int32Array | None]) -> SparsePart:
        """The sparse part of the scores of B users.

        Args:
            source: int64 [B], rows of source users; -1 for others, and for users whose stored history must not be used.
            warm: [B], whether the user's vector comes from target ratings.
            given: [B], source item rows, ascending, from the request; they replace the stored history.
        """
        rows = np.where(np.asarray(warm, dtype=np.bool_) & (not self._warm), -1, source)
        if all(each is None for each in given):
            return SparsePart(self.neighbours, self._stored.take(rows))
        lists = []
        for row, brought, is_warm in zip(rows.tolist(), given, warm, strict=True):
            if brought is not None and (self._warm or not is_warm):
                lists.append(brought)
            else:
                lists.append(self._stored.take(np.array([row])).rows)
        return SparsePart(self.neighbours, Histories.pack(lists))
