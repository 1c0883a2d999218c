"""Batches for training, and fixed-size blocks for inference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from training.base_models.unrated import joined
from training.models.layers import product_by_rows
from training.problem import TransferProblem, rating_tensors
from training.rating_table import RatingTable

BLOCK = 256


@dataclass(frozen=True)
class Batch:
    """``users`` int64 [B]: numbers of users as in the :class:`UserRatings` it is of, the rows of the mapping losses.

    The rows of the task loss: ``rated`` int64 [R], positions in ``users``; ``items`` int64 [R]; ``ratings`` [R].
    """

    users: Tensor
    rated: Tensor
    items: Tensor
    ratings: Tensor


@dataclass(frozen=True)
class UserRatings:
    """Ratings by user: those of user u are at ``starts[u]:starts[u + 1]``."""

    users: Tensor
    items: Tensor
    ratings: Tensor
    starts: Tensor

    @classmethod
    def of_overlap(cls, problem: TransferProblem) -> Self:
        """Target ratings of the training overlap users, added zeros included, numbered as ``overlap_target``."""
        count = len(problem.overlap_target)
        position = torch.full((problem.target.n_users,), -1, dtype=torch.int64)
        position[problem.overlap_target] = torch.arange(count)
        target = rating_tensors(joined(problem.target, problem.target_zeros))
        users = position[target.users]
        kept = torch.nonzero(users >= 0).squeeze(1)
        kept = kept[torch.argsort(users[kept], stable=True)]
        users = users[kept]
        starts = torch.searchsorted(users, torch.arange(count + 1))
        return cls(users, target.items[kept], target.ratings[kept], starts)

    @classmethod
    def of_table(cls, table: RatingTable) -> Self:
        """All of ``table``, users numbered as there."""
        columns = rating_tensors(table)
        return cls(columns.users, columns.items, columns.ratings, torch.from_numpy(table.indptr()))

    def batches(
        self, rows: Literal["users", "ratings"], *, batch_size: int, generator: torch.Generator
    ) -> Iterator[Batch]:
        """One epoch, shuffled. A batch is ``batch_size`` users with all their ratings, or as many single ratings."""
        order = torch.randperm(self.count(rows), generator=generator)
        for chosen in torch.split(order, batch_size):
            yield self.of_users(chosen) if rows == "users" else self._of_ratings(chosen)

    def count(self, rows: Literal["users", "ratings"]) -> int:
        """Rows of one epoch."""
        return len(self.starts) - 1 if rows == "users" else len(self.users)

    def _of_ratings(self, chosen: Tensor) -> Batch:
        return Batch(self.users[chosen], torch.arange(len(chosen)), self.items[chosen], self.ratings[chosen])

    def of_users(self, chosen: Tensor) -> Batch:
        """All ratings of the users ``chosen`` int64 [B], in their order."""
        first, counts = self.starts[chosen], self.starts[chosen + 1] - self.starts[chosen]
        rated = torch.repeat_interleave(torch.arange(len(chosen)), counts)
        # The n-th rating of a user is at its first plus n; n counts up within each user's run.
        before = torch.cumsum(counts, 0) - counts
        at = torch.arange(len(rated)) - before[rated] + first[rated]
        return Batch(chosen, rated, self.items[at], self.ratings[at])


def raters(table: RatingTable) -> Tensor:
    """Rows of the users with ratings, ascending. The others' base vectors are untrained."""
    return torch.from_numpy(np.unique(table.users))


def blockwise(function: Callable[[Tensor], Tensor], rows: Tensor, *, width: int) -> Tensor:
    """``function`` on ``rows`` [B, d] -> [B, ``width``], always in whole blocks of ``BLOCK`` rows.

    Matrix products pick their kernel, and with it the order of summation, by the batch's size. With one size only, a
    row's result does not depend, to the last bit, on how many others it came with. That its place in the block does
    not matter either is up to ``function``: see :func:`~training.models.layers.product_by_rows`.
    """
    out = rows.new_empty((len(rows), width))
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        padded = rows.new_zeros((BLOCK, rows.shape[1]))
        padded[: len(part)] = part
        out[start : start + len(part)] = function(padded)[: len(part)]
    return out


def affine_blockwise(rows: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """``rows @ matrix + offset``, [B, d] -> [B, k]: a row's result depends on that row alone, to the last bit."""
    return blockwise(lambda part: product_by_rows(part, matrix) + offset, rows, width=matrix.shape[1])
