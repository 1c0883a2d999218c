"""A table of vectors with its Adam state, for batches that touch few rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
SHRINKING = BETA1 / math.sqrt(BETA2)
"""What an idle step's move is of the move before it, but for the bias corrections."""

SETTLED_AFTER = 40_000
"""Steps after which the bias corrections are 1 to float64."""

SWEPT_SIZE = 1 << 20
"""Numbers in a table up to which all of it is moved at every step: no slower, or little, than to keep account of what
rows owe, and to the bit what Adam does."""

ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Taken:
    """Rows of a table as they are before a step.

    ``rows`` int64 [U], each once; ``values``, ``momentum``, ``variance`` [U, d]; ``position`` int64 [B]: where each
    row of the batch is among them.
    """

    rows: Tensor
    position: Tensor
    values: Tensor
    momentum: Tensor
    variance: Tensor

    def of_batch(self) -> Tensor:
        """The values, [B, d], one row for each of the batch."""
        return self.values.index_select(0, self.position)


class RowTable(nn.Module):
    """Rows under Adam, at a cost that does not grow with the table.

    ``lazy``: rows that are not in a batch keep their value and their moments (as ``torch.optim.SparseAdam``, whose
    result this is at a fraction of the time). Otherwise plain Adam, in which every row moves on its momentum at every
    step. In large tables a row makes up for its idle steps, all at once, when it is next in a batch: without
    gradients the moments shrink geometrically, so the sum of the moves is known. There, :meth:`apply_pending` must come
    before ``values`` is read.
    """

    values: Tensor
    momentum: Tensor
    variance: Tensor
    step: Tensor
    moved: Tensor

    def __init__(self, values: Tensor, *, lr: float, lazy: bool, swept_size: int = SWEPT_SIZE) -> None:
        """``values`` [n, d]: where it starts. ``swept_size``: see :data:`SWEPT_SIZE`."""
        super().__init__()
        self.lr = lr
        self.sweeps = not lazy and values.numel() <= swept_size
        self.defers = not lazy and not self.sweeps
        self.register_buffer("values", values)
        self.register_buffer("momentum", torch.zeros_like(values))
        self.register_buffer("variance", torch.zeros_like(values))
        self.register_buffer("step", torch.zeros(()))
        if self.defers:
            self.register_buffer("moved", torch.zeros(len(values), dtype=torch.int64))

    def take(self, rows: Tensor) -> Taken:
        """The rows of a batch, int64 [B], as they are now."""
        if self.sweeps:
            return Taken(rows, rows, self.values, self.momentum, self.variance)
        touched, position = torch.unique(rows, return_inverse=True)
        return Taken(touched, position, *self._now(touched))

    def descend(self, taken: Taken, gradients: Tensor) -> None:
        """One Adam step. ``gradients`` [B, d] belong to the batch of ``taken``; those of one row are added up."""
        total = torch.zeros_like(taken.values).index_add_(0, taken.position, gradients)
        self._adam(taken, total)
        if not self.sweeps:
            self._put(taken.rows, taken.values, taken.momentum, taken.variance)

    def apply_pending(self) -> None:
        """Apply the pending updates of all rows."""
        if self.defers:
            for rows in torch.split(torch.arange(len(self.values)), ROWS_AT_ONCE):
                self._put(rows, *self._now(rows))

    def _now(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values and moments of ``rows``, the moves they owe made."""
        values, momentum, variance = (
            table.index_select(0, rows) for table in (self.values, self.momentum, self.variance)
        )
        if self.defers:
            moved, (to_come, eps) = self.moved.index_select(0, rows), _tails()
            idle, since = (int(self.step) - moved).to(torch.float32), moved.clamp(max=SETTLED_AFTER)
            later = to_come[min(int(self.step), SETTLED_AFTER)]
            owed = to_come.index_select(0, since) - torch.pow(SHRINKING, idle) * later
            divisor = variance.sqrt().add_(eps.index_select(0, since)[:, None])
            values.addcdiv_(momentum * owed[:, None], divisor, value=-self.lr)
            momentum.mul_(torch.pow(BETA1, idle)[:, None])
            variance.mul_(torch.pow(BETA2, idle)[:, None])
        return values, momentum, variance

    def _put(self, rows: Tensor, *state: Tensor) -> None:
        for table, part in zip((self.values, self.momentum, self.variance), state, strict=True):
            table.index_copy_(0, rows, part)
        if self.defers:
            self.moved.index_fill_(0, rows, int(self.step))

    def _adam(self, taken: Taken, gradients: Tensor) -> None:
        adam(
            [taken.values],
            [gradients],
            [taken.momentum],
            [taken.variance],
            [],
            [self.step],
            fused=True,
            amsgrad=False,
            beta1=BETA1,
            beta2=BETA2,
            lr=self.lr,
            weight_decay=0.0,
            eps=EPS,
            maximize=False,
        )


@cache
def _tails() -> tuple[Tensor, Tensor]:
    """For each step t up to ``SETTLED_AFTER``: what is still to come after it, and Adam's eps; float32.

    With the bias corrections c(t) = sqrt(1 - BETA2^t) / (1 - BETA1^t), a row with momentum m and variance v after step
    t moves by lr m c(t + n) SHRINKING^n / (sqrt(v) + eps) in its n-th idle step; to come is the sum of c(t + n)
    SHRINKING^n over n >= 1. As v is without its correction, eps is EPS sqrt(1 - BETA2^t): it is that of step t, since v
    shrinks by a few per cent only while m lasts. Before the first step m is 0, and eps not, for 0 / 0 is no number.
    """
    tail, tails = SHRINKING / (1.0 - SHRINKING), [0.0] * (SETTLED_AFTER + 1)
    for t in range(SETTLED_AFTER, 0, -1):
        tails[t] = tail
        tail = SHRINKING * (math.sqrt(1.0 - BETA2**t) / (1.0 - BETA1**t) + tail)
    steps = torch.arange(SETTLED_AFTER + 1, dtype=torch.float64).clamp(min=1)
    return torch.tensor(tails), (EPS * torch.sqrt(1.0 - torch.pow(BETA2, steps))).float()
