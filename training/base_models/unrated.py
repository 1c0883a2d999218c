"""Items that users have not rated: found without trial, and drawn as ratings of zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from training.problem import rating_tensors
from training.rating_table import RatingTable


@dataclass(frozen=True)
class Unrated:
    """Which items each user of a table has not rated.

    ``gaps`` int64 [R], ascending: user * (n_items + 1) + the number of unrated items below the rated one, by which the
    n-th unrated item is found. ``counts``, ``starts`` int64 [n_users]: where a user's ratings are.
    """

    gaps: Tensor
    counts: Tensor
    starts: Tensor
    n_items: int

    @classmethod
    def of(cls, table: RatingTable) -> Self:
        """From the ratings of ``table``."""
        columns = rating_tensors(table)
        counts = torch.bincount(columns.users, minlength=table.n_users)
        starts = torch.cumsum(counts, 0) - counts
        rank = torch.arange(len(table)) - starts[columns.users]
        return cls(columns.users * (table.n_items + 1) + columns.items - rank, counts, starts, table.n_items)

    def draw(self, users: Tensor, *, generator: torch.Generator) -> Tensor:
        """For each of ``users`` [B] an item that the user has not rated, int64 [B], uniform; each must have one."""
        free = self.n_items - self.counts[users]
        nth = (torch.rand(len(users), generator=generator, dtype=torch.float64) * free).long()
        below = torch.searchsorted(self.gaps, users * (self.n_items + 1) + nth, right=True) - self.starts[users]
        return nth + below


def drawn_zeros(table: RatingTable, *, per_rating: int, generator: torch.Generator) -> RatingTable:
    """``per_rating`` draws for each rating among what its user has not rated, as ratings of 0; each pair once.

    Users who have rated every item get none.
    """
    unrated = Unrated.of(table)
    users = rating_tensors(table).users
    users = users[unrated.counts[users] < table.n_items].repeat_interleave(per_rating)
    pairs = torch.unique(users * table.n_items + unrated.draw(users, generator=generator)).numpy()
    zeros = np.zeros(len(pairs), dtype=np.float32)
    return RatingTable(pairs // table.n_items, pairs % table.n_items, zeros, table.n_users, table.n_items)


def joined(table: RatingTable, zeros: RatingTable | None) -> RatingTable:
    """Both as one table; they have no pair in common."""
    if zeros is None:
        return table
    users, items, ratings = (
        np.concatenate([getattr(part, name) for part in (table, zeros)]) for name in ("users", "items", "ratings")
    )
    order = np.lexsort((items, users))
    return RatingTable(users[order], items[order], ratings[order], table.n_users, table.n_items)
