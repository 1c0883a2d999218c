"""The rating error that models choose by, on users whose target ratings they never learn from."""

from __future__ import annotations

import torch
from torch import Tensor

from training.models.base import HeldOut, ScoringHead


def held_out_errors(
    vectors: Tensor, held_out: HeldOut, *, head: ScoringHead, rating_range: tuple[float, float]
) -> dict[str, float]:
    """RMSE and MAE over the held-out ratings, predictions clipped to ``rating_range``; empty without ratings.

    ``vectors`` [U, target_dim]: the target vectors of the held-out users, in their order.
    """
    ratings = held_out.ratings
    if not len(ratings):
        return {}
    with torch.no_grad():
        errors = clipped_predictions(vectors, held_out, head=head, rating_range=rating_range) - ratings.ratings
        return {"rmse": float(errors.double().square().mean().sqrt()), "mae": float(errors.double().abs().mean())}


def clipped_predictions(
    vectors: Tensor, held_out: HeldOut, *, head: ScoringHead, rating_range: tuple[float, float]
) -> Tensor:
    """Predicted ratings of the held-out pairs, [R], within ``rating_range``."""
    users, items = held_out.ratings.users, held_out.ratings.items
    products = (vectors[users] * head.item_vectors[items]).sum(dim=1)
    return (head.offset + head.item_biases[items] + products).clamp(*rating_range)
