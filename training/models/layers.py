"""Linear layers: first values come from a generator that is passed in; products have rows that know no neighbours."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

COLUMNS = 16


class Linear(nn.Linear):
    """A linear layer; in evaluation mode by :func:`product_by_rows`."""

    def forward(self, rows: Tensor) -> Tensor:
        """[B, inputs] -> [B, outputs]; in training any dimensions before the last."""
        if self.training:
            return super().forward(rows)
        return product_by_rows(rows, self.weight.T, self.bias)


def product_by_rows(rows: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """``rows @ matrix + bias``, [B, k]: in blocks of one size, a row gives the same bits at every place.

    ``rows`` [B, d], ``matrix`` [d, k], ``bias`` [k]. The kernels of matrix products sum some rows of a block in another
    order than others where the last columns do not fill a register (k = 6, 10), or where a matrix that lies in memory
    by columns has an odd number of rows (in float64). So ``matrix`` is laid out by rows and filled up with zeros to
    whole ``COLUMNS``, which the result leaves out.
    """
    width = int(matrix.shape[1])
    missing = -width % COLUMNS
    filled = functional.pad(matrix, (0, missing)).contiguous()
    if bias is None:
        return (rows @ filled)[:, :width]
    return torch.addmm(functional.pad(bias, (0, missing)), rows, filled)[:, :width]


def linear(inputs: int, outputs: int, *, bias: bool = True, generator: torch.Generator) -> Linear:
    """A linear layer started as PyTorch starts its own: all values uniform within 1 / sqrt(inputs)."""
    # Made without values, so that the global random state is neither read nor moved.
    layer = Linear(inputs, outputs, bias=bias, device="meta").to_empty(device="cpu")
    bound = 1.0 / math.sqrt(inputs)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return layer
