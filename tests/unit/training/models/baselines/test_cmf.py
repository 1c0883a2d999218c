"""CMF: which rows the two tables share, and whose ratings move whom."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tests.unit.training.models.planted import planted
from tests.unit.training.rating_tables import no_ratings, rating_table
from training.models.baselines.cmf import CMF, CMFConfig, joint_table
from training.problem import FactorTables, HeldOut, TransferProblem
from training.rating_table import RatingTable

DATA = planted()


def table(rows: list[tuple[int, int, float]], *, users: int, items: int) -> RatingTable:
    columns = list(zip(*rows, strict=True))
    return rating_table(torch.tensor(columns[0]), torch.tensor(columns[1]), torch.tensor(columns[2]), users, items)


def vectors(problem: TransferProblem) -> Tensor:
    model = CMF(CMFConfig(dim=3, epochs=3))
    model.fit(problem, generator=torch.Generator().manual_seed(0))
    return model.source_vectors()


def test_overlap_users_share_a_row_and_others_follow() -> None:
    base = FactorTables(torch.zeros(3, 1), torch.zeros(2, 1), torch.zeros(2), 0.0)
    nobody = no_ratings(n_items=2)
    joint = joint_table(
        TransferProblem(
            source=table([(0, 0, 1.0), (1, 1, 2.0), (2, 1, 3.0)], users=3, items=2),
            target=table([(0, 0, 4.0), (1, 1, 5.0), (2, 0, 1.5), (3, 1, 2.5)], users=4, items=2),
            source_base=base,
            target_base=base,
            # Target user 2 is source user 0, target user 0 is source user 2.
            overlap_source=torch.tensor([0, 2]),
            overlap_target=torch.tensor([2, 0]),
            validation=HeldOut(torch.empty(0, dtype=torch.int64), nobody),
            rating_range=(1.0, 5.0),
        )
    )
    assert joint.users.tolist() == [0, 1, 2, 2, 3, 0, 4]
    assert joint.items.tolist() == [0, 1, 1, 2, 3, 2, 3]
    assert joint.ratings.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 1.5, 2.5]
    assert (joint.n_users, joint.n_items) == (5, 4)


def test_target_ratings_move_an_overlap_user() -> None:
    target = DATA.problem.target
    flipped = replace(target, ratings=6.0 - target.ratings)
    users = DATA.problem.overlap_source
    changed = (vectors(replace(DATA.problem, target=flipped)) - vectors(DATA.problem)).abs().amax(dim=1)
    assert float(changed[users].min()) > 0.0


def test_base_models_are_not_used() -> None:
    base = DATA.problem.target_base
    other = replace(base, user_vectors=-base.user_vectors, item_vectors=2.0 * base.item_vectors)
    problem = replace(DATA.problem, source_base=other, target_base=other)
    assert torch.equal(vectors(problem), vectors(DATA.problem))
