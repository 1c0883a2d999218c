"""A small problem of who has which items: two kinds of users, each with items of its own in both domains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tests.unit.training.models.planted import ITEMS, PER_USER, TRAINING, USERS, VALIDATION, Planted
from tests.unit.training.rating_tables import rating_table
from training.problem import FactorTables, HeldOut, TransferProblem
from training.rating_table import RatingTable

HALF = ITEMS // 2


def likings(seed: int = 0) -> Planted:
    """Users of even number have items of the first half of both catalogues, others of the second; ratings are 4.

    No two items of a half tell anything apart, so that the kind of a user is all there is to learn.
    """
    generator = torch.Generator().manual_seed(seed)
    source, everyone = _domain(generator), _domain(generator)
    order = torch.randperm(USERS, generator=generator)
    training = order[:TRAINING].sort().values
    base = FactorTables(torch.zeros(USERS, 2), torch.zeros(ITEMS, 2), torch.zeros(ITEMS), 0.0)
    problem = TransferProblem(
        source=source,
        target=_only(everyone, training),
        source_base=base,
        target_base=base,
        overlap_source=training,
        overlap_target=training,
        validation=_held_out(everyone, order[TRAINING : TRAINING + VALIDATION]),
        rating_range=(1.0, 5.0),
    )
    return Planted(problem, _held_out(everyone, order[TRAINING + VALIDATION :]), torch.zeros(USERS, 2))


def _domain(generator: torch.Generator) -> RatingTable:
    rows = [torch.randperm(HALF, generator=generator)[:PER_USER].sort().values + HALF * (u % 2) for u in range(USERS)]
    items = torch.cat(rows)
    return rating_table(
        torch.arange(USERS).repeat_interleave(PER_USER), items, torch.full((len(items),), 4.0), USERS, ITEMS
    )


def _only(table: RatingTable, users: Tensor) -> RatingTable:
    return table.take(np.isin(table.users, users.numpy()))


def _held_out(table: RatingTable, users: Tensor) -> HeldOut:
    position = np.full(USERS, -1)
    position[users.numpy()] = np.arange(len(users))
    kept = _only(table, users)
    return HeldOut(users, replace(kept, users=position[kept.users], n_users=len(users)))
