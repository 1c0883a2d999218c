"""A small problem whose answer is known: target vectors are a linear map of source vectors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tests.unit.training.rating_tables import rating_table
from training.problem import FactorTables, HeldOut, TransferProblem
from training.rating_table import RatingTable

DIM, USERS, ITEMS, PER_USER = 4, 160, 40, 12
TRAINING, VALIDATION = 120, 20


@dataclass(frozen=True)
class Planted:
    """``test``: held-out users beside ``problem``; ``true_vectors`` [USERS, k]: everyone's target vectors."""

    problem: TransferProblem
    test: HeldOut
    true_vectors: Tensor


def planted(seed: int = 0, *, dim: int = DIM) -> Planted:
    """Both base models are exact; ratings lie between 1 and 5 around 3, with a little noise. ``dim``: k of both."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    source_users = 0.6 * normal(USERS, dim)
    rotation, _ = torch.linalg.qr(normal(dim, dim))
    target_users = source_users @ rotation
    source = _domain(source_users, 0.6 * normal(ITEMS, dim), generator)
    target_items = 0.6 * normal(ITEMS, dim)
    everyone = _domain(target_users, target_items, generator)
    order = torch.randperm(USERS, generator=generator)
    training = order[:TRAINING].sort().values
    validation, test = order[TRAINING : TRAINING + VALIDATION], order[TRAINING + VALIDATION :]
    problem = TransferProblem(
        source=source,
        target=_only(everyone, training),
        source_base=_base(source_users, 0.6 * normal(ITEMS, dim)),
        target_base=_base(target_users, target_items),
        overlap_source=training,
        overlap_target=training,
        validation=_held_out(everyone, validation),
        rating_range=(1.0, 5.0),
        source_ids=np.array([f"user-{row:03}".encode() for row in range(USERS)]),
    )
    return Planted(problem, _held_out(everyone, test), target_users)


def _base(users: Tensor, items: Tensor) -> FactorTables:
    return FactorTables(user_vectors=users, item_vectors=items, item_biases=torch.zeros(len(items)), offset=3.0)


def _domain(users: Tensor, items: Tensor, generator: torch.Generator) -> RatingTable:
    rated = torch.stack([torch.randperm(ITEMS, generator=generator)[:PER_USER].sort().values for _ in range(USERS)])
    rows = torch.arange(USERS).repeat_interleave(PER_USER)
    columns = rated.flatten()
    ratings = 3.0 + (users[rows] * items[columns]).sum(1) + 0.05 * torch.randn(len(rows), generator=generator)
    return rating_table(rows, columns, ratings.clamp(1.0, 5.0), USERS, ITEMS)


def _only(table: RatingTable, users: Tensor) -> RatingTable:
    return table.take(np.isin(table.users, users.numpy()))


def _held_out(table: RatingTable, users: Tensor) -> HeldOut:
    position = np.full(USERS, -1)
    position[users.numpy()] = np.arange(len(users))
    kept = _only(table, users)
    return HeldOut(users, replace(kept, users=position[kept.users], n_users=len(users)))
