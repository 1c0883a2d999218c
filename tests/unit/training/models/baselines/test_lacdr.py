"""LACDR: who takes part in what."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tests.unit.training.models.planted import planted
from training.models.baselines.lacdr import LACDR, LACDRConfig, raters
from training.problem import RatingTable, TransferProblem

DATA = planted()


def carried(problem: TransferProblem) -> Tensor:
    model = LACDR(LACDRConfig(epochs=2))
    model.fit(problem, generator=torch.Generator().manual_seed(0))
    return model.transfer(DATA.problem.source_base.user_vectors)


def test_raters_are_those_with_ratings() -> None:
    table = RatingTable(torch.tensor([1, 1, 4]), torch.tensor([0, 1, 0]), torch.ones(3), 6, 2)
    assert raters(table).tolist() == [1, 4]


def test_users_of_the_source_alone_shape_the_codes() -> None:
    base = DATA.problem.source_base
    moved = base.user_vectors.clone()
    moved[DATA.test.source_rows] *= -3.0
    problem = replace(DATA.problem, source_base=replace(base, user_vectors=moved))
    assert not torch.equal(carried(problem), carried(DATA.problem))


def test_vectors_of_held_out_users_in_the_target_teach_nothing() -> None:
    base = DATA.problem.target_base
    moved = base.user_vectors.clone()
    moved[DATA.test.source_rows] *= -3.0
    problem = replace(DATA.problem, target_base=replace(base, user_vectors=moved))
    assert torch.equal(carried(problem), carried(DATA.problem))


def test_alignment_is_of_codes_not_of_vectors() -> None:
    model = LACDR(LACDRConfig(hidden_dim=1, epochs=2))
    model.fit(DATA.problem, generator=torch.Generator().manual_seed(0))
    matrix, _ = model.fold() or (torch.zeros(0), torch.zeros(0))
    # Through a code of one dimension nothing but a line comes out.
    assert int(torch.linalg.matrix_rank(matrix, rtol=1e-8)) == 1
