"""A small problem that no linear map solves: there are two kinds of users, each with a map of its own."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tests.unit.training.models.planted import ITEMS, USERS, Planted, planted
from tests.unit.training.rating_tables import rating_table
from training.problem import HeldOut
from training.rating_table import RatingTable

RATED = 8


def two_kinds_of_users() -> Planted:
    """As ``planted``, but users with high first coordinate keep the map while the others have its negative.

    The first kind likes the first half of the source items, the other the second; nobody rates the rest.
    """
    data = planted(3)
    problem = data.problem
    base = problem.source_base
    first = base.user_vectors[:, 0] > 0
    sign = torch.where(first, 1.0, -1.0)
    everyone = torch.arange(len(first))
    generator = torch.Generator().manual_seed(4)
    items = torch.stack([torch.randperm(ITEMS // 2, generator=generator)[:RATED].sort().values for _ in everyone])
    items = items + torch.where(first, 0, ITEMS // 2)[:, None]
    source = rating_table(
        everyone.repeat_interleave(RATED), items.flatten(), torch.full((items.numel(),), 5.0), USERS, ITEMS
    )
    item_vectors = 0.3 * base.item_vectors
    item_vectors[:, 1] = torch.where(torch.arange(ITEMS) < ITEMS // 2, 1.0, -1.0)

    def flipped(ratings: RatingTable, rows: Tensor) -> RatingTable:
        return replace(ratings, ratings=3.0 + sign[rows].numpy()[ratings.users] * (ratings.ratings - 3.0))

    def held_out(users: HeldOut) -> HeldOut:
        return HeldOut(users.source_rows, flipped(users.ratings, users.source_rows))

    target_base = replace(problem.target_base, user_vectors=sign[:, None] * problem.target_base.user_vectors)
    planted_problem = replace(
        problem,
        source=source,
        source_base=replace(base, item_vectors=item_vectors),
        target_base=target_base,
        target=flipped(problem.target, everyone),
        validation=held_out(problem.validation),
    )
    return Planted(planted_problem, held_out(data.test), target_base.user_vectors)
