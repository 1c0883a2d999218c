"""Linear layers with an explicit generator, and products whose rows do not depend on their batch neighbours."""

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


class RowProduct:
    """``rows @ matrix + bias``, [B, d] -> [B, k]: in blocks of one size, a row gives the same bits at every place.

    The kernels of matrix products sum some rows of a block in another order than others where the last columns do not
    fill a register (k = 6, 10), or where a matrix that lies in memory by columns has an odd number of rows (in
    float64). So the matrix is laid out by rows and filled up with zeros to whole ``COLUMNS``, which the result leaves
    out.
    """

    def __init__(self, matrix: Tensor) -> None:
        """``matrix`` [d, k]."""
        self._width = int(matrix.shape[1])
        self._filled = filled_up(matrix).contiguous()

    def __call__(self, rows: Tensor, bias: Tensor | None = None) -> Tensor:
        """The product with ``rows`` [B, d], and ``bias`` [k] added."""
        product = rows @ self._filled if bias is None else torch.addmm(filled_up(bias), rows, self._filled)
        return product if self._width % COLUMNS == 0 else product[:, : self._width]


def product_by_rows(rows: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """One :class:`RowProduct`: ``rows`` [B, d], ``matrix`` [d, k], ``bias`` [k] -> [B, k]."""
    return RowProduct(matrix)(rows, bias)


def filled_up(values: Tensor) -> Tensor:
    """``values`` with columns of zeros up to whole ``COLUMNS``; itself where there are none to add."""
    missing = -int(values.shape[-1]) % COLUMNS
    return functional.pad(values, (0, missing)) if missing else values


def linear(inputs: int, outputs: int, *, bias: bool = True, generator: torch.Generator) -> Linear:
    """A linear layer started as PyTorch starts its own: all values uniform within 1 / sqrt(inputs)."""
    # Made without values, so that the global random state is neither read nor moved.
    layer = Linear(inputs, outputs, bias=bias, device="meta").to_empty(device="cpu")
    bound = 1.0 / math.sqrt(inputs)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return layer
