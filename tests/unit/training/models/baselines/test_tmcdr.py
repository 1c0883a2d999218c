"""TMCDR: one update against gradients written out, and that a step is learnt, not a mapping alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.unit.training.models.planted import planted
from tests.unit.training.rating_tables import no_ratings
from training.models.baselines.tmcdr import TMCDR, TMCDRConfig
from training.problem import HeldOut, TransferProblem, rating_tensors

DATA = planted()


def problem_of(users: int) -> TransferProblem:
    """The first ``users`` training users of the planted problem, without validation ratings."""
    nobody = torch.empty(0, dtype=torch.int64)
    chosen, target = DATA.problem.overlap_target[:users], DATA.problem.target
    return replace(
        DATA.problem,
        target=target.take(np.isin(target.users, chosen.numpy())),
        overlap_source=chosen,
        overlap_target=chosen,
        validation=HeldOut(nobody, no_ratings(n_items=40)),
    )


def test_an_update_is_the_derivative_through_the_step() -> None:
    """Finite differences of the second group's loss, as a function of the mapping before the first group's step."""
    problem, inner = problem_of(6), 0.3
    model = TMCDR(TMCDRConfig(epochs=1, batch_size=3, lr=1e-2, inner_lr=inner))
    model.fit(problem, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    start = torch.nn.init.uniform_(torch.empty(4, 4), -0.5, 0.5, generator=generator).double()
    groups = torch.split(torch.randperm(6, generator=generator), 3)
    base, source = problem.target_base, problem.source_base.user_vectors[problem.overlap_source].double()

    def loss(weight: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
        users = problem.overlap_target[group]
        mine = rating_tensors(problem.target.take(np.isin(problem.target.users, users.numpy())))
        position = torch.searchsorted(problem.overlap_target, mine.users)
        predicted = ((source[position] @ weight.T) * base.item_vectors[mine.items].double()).sum(1)
        return (predicted + base.offset - mine.ratings).square().mean()

    def after(weight: torch.Tensor) -> float:
        held = weight.clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss(held, groups[0]), held)
        return float(loss(weight - inner * slope, groups[1]))

    folded = model.fold()
    assert folded is not None
    moved = folded[0].T - start
    for row in range(4):
        for column in range(4):
            nudge = torch.zeros(4, 4, dtype=torch.float64)
            nudge[row, column] = 1e-5
            slope = (after(start + nudge) - after(start - nudge)) / 2e-5
            # Adam's first step is lr against the gradient's sign.
            assert float(moved[row, column]) == pytest.approx(-1e-2 if slope > 0 else 1e-2, rel=1e-3)


@pytest.mark.parametrize("users", [1, 2, 3, 7])
def test_every_number_of_users_trains(users: int) -> None:
    report = TMCDR(TMCDRConfig(epochs=1, batch_size=2)).fit(
        problem_of(users), generator=torch.Generator().manual_seed(0)
    )
    assert report.rows == users


def test_target_vectors_teach_nothing() -> None:
    base = DATA.problem.target_base
    other = replace(DATA.problem, target_base=replace(base, user_vectors=-base.user_vectors))
    fitted = []
    for problem in (DATA.problem, other):
        model = TMCDR(TMCDRConfig(epochs=2))
        model.fit(problem, generator=torch.Generator().manual_seed(0))
        fitted.append(model.transfer(problem.source_base.user_vectors))
    assert torch.equal(*fitted)
