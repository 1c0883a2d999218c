"""A planted map that no linear one comes near, and that DiffCDR with an activation learns.

Where a user's source vector is z, the target vector is |z| less its mean, number by number, each turned at random. It
takes time and condition that enter behind the DIM's first layer (docs/results/research-log.md).
"""

from __future__ import annotations

import torch
from torch import Tensor

from tests.unit.training.rating_tables import rating_table
from training.evaluation.judging import held_out_errors
from training.models.baselines.ridge import Ridge, RidgeConfig
from training.models.contract import TransferModel
from training.models.network.config import DiffCDRConfig
from training.models.network.model import DiffCDR
from training.problem import FactorTables, HeldOut, TransferProblem
from training.rating_table import RatingTable

DIM, USERS, ITEMS, PER_USER = 4, 600, 40, 12
TRAINING, VALIDATION = 450, 60
RANGE = (1.0, 5.0)


def bent() -> tuple[TransferProblem, HeldOut]:
    """The problem, and its test users; both base models are exact."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    taste = normal(USERS, DIM)
    turns = [torch.linalg.qr(normal(DIM, DIM))[0] for _ in range(2)]
    source_users, target_users = 0.6 * taste @ turns[0], (taste.abs() - 0.8) @ turns[1]
    target_items = 0.9 * normal(ITEMS, DIM)
    rows = torch.arange(USERS).repeat_interleave(PER_USER)
    rated = torch.stack([torch.randperm(ITEMS, generator=generator)[:PER_USER].sort().values for _ in range(USERS)])
    scores = 3.0 + (target_users[rows] * target_items[rated.flatten()]).sum(1) + 0.05 * normal(len(rows))
    everyone = rating_table(rows, rated.flatten(), scores.clamp(*RANGE), USERS, ITEMS)

    def of(first: int, last: int, *, shift: int) -> RatingTable:
        part = slice(first * PER_USER, last * PER_USER)
        return rating_table(rows[part] - shift, everyone.items[part], everyone.ratings[part], USERS, ITEMS)

    def held_out(first: int, last: int) -> HeldOut:
        return HeldOut(torch.arange(first, last), of(first, last, shift=first))

    def base(users: Tensor, items: Tensor) -> FactorTables:
        return FactorTables(user_vectors=users, item_vectors=items, item_biases=torch.zeros(ITEMS), offset=3.0)

    problem = TransferProblem(
        source=everyone,
        target=of(0, TRAINING, shift=0),
        source_base=base(source_users, normal(ITEMS, DIM)),
        target_base=base(target_users, target_items),
        overlap_source=torch.arange(TRAINING),
        overlap_target=torch.arange(TRAINING),
        validation=held_out(TRAINING, TRAINING + VALIDATION),
        rating_range=RANGE,
    )
    return problem, held_out(TRAINING + VALIDATION, USERS)


def test_diffcdr_with_an_activation_learns_what_no_linear_map_can() -> None:
    problem, test = bent()

    def error(model: TransferModel) -> float:
        model.fit(problem, generator=torch.Generator().manual_seed(0))
        vectors = model.transfer(model.source_vectors()[test.source_rows])
        return held_out_errors(vectors, test, head=model.head(), rating_range=RANGE)["rmse"]

    config = DiffCDRConfig(
        activation="silu",
        conditioning="hidden",
        schedule="continuous",
        end_time=0.02,
        nfe=12,
        guidance_scale=1.0,
        condition_dropout=0.0,
        alm_loss="l2",
        task_weight=1.0,
        lr=3e-3,
        batch_size=64,
        epochs=120,
    )
    # The ratings' own noise is 0.05.
    assert error(DiffCDR(config)) < 0.35
    assert error(Ridge(RidgeConfig())) > 0.85
