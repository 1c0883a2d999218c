"""The losses that models share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import Tensor, nn

from training.models.batching import Batch
from training.problem import FactorTables
from training.setting_types import LossName

LOSSES: Mapping[LossName, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {
        "smooth_l1": nn.functional.smooth_l1_loss,
        "l1": nn.functional.l1_loss,
        "l2": nn.functional.mse_loss,
    }
)
"""Means over rows and dimensions, by name."""


def task_loss(vectors: Tensor, batch: Batch, items: FactorTables) -> Tensor:
    """The task loss of Eq. 7: squared error of the ratings predicted with ``vectors`` [B, k], one row a batch user."""
    products = (vectors[batch.rated] * items.item_vectors[batch.items]).sum(dim=1)
    return nn.functional.mse_loss(items.offset + items.item_biases[batch.items] + products, batch.ratings)
