"""LACDR: who takes part in what."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tests.unit.training.models.planted import planted
from tests.unit.training.rating_tables import no_ratings, rating_table
from training.models.baselines.lacdr import LACDR, LACDRConfig, raters
from training.problem import HeldOut, TransferProblem, rating_tensors

DATA = planted()


def carried(problem: TransferProblem) -> Tensor:
    model = LACDR(LACDRConfig(epochs=2))
    model.fit(problem, generator=torch.Generator().manual_seed(0))
    return model.transfer(DATA.problem.source_base.user_vectors)


def test_raters_are_those_with_ratings() -> None:
    table = rating_table(torch.tensor([1, 1, 4]), torch.tensor([0, 1, 0]), torch.ones(3), 6, 2)
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


def test_the_released_form_by_a_plain_loop() -> None:
    """The released code's loss, told in words in docs/how-to/presets.md, in plain PyTorch; none of its code."""
    config = LACDRConfig(
        biases=False,
        distance="norm",
        alignment_weight=2.0,
        reconstruct="overlap",
        rows="ratings",
        lr=0.001,
        batch_size=48,
        epochs=2,
    )
    nobody = torch.empty(0, dtype=torch.int64)
    problem = replace(DATA.problem, validation=HeldOut(nobody, no_ratings(n_items=40)))
    model = LACDR(config)
    model.fit(problem, generator=torch.Generator().manual_seed(0))

    generator = torch.Generator().manual_seed(0)
    layers = [torch.nn.Linear(*shape, bias=False) for shape in [(4, 4)] * 4]
    for layer in layers:
        torch.nn.init.uniform_(layer.weight, -0.5, 0.5, generator=generator)
    code_source, _, code_target, decode_target = layers
    _, decode_source, *_ = layers
    adam = torch.optim.Adam([layer.weight for layer in layers], lr=0.001)
    users = rating_tensors(problem.target).users  # overlap users have the same rows in both domains here
    batches = -(-len(users) // 48)
    for _ in range(2):
        for rows in users[torch.randperm(len(users), generator=generator)].tensor_split(batches):
            source, target = problem.source_base.user_vectors[rows], problem.target_base.user_vectors[rows]
            codes = code_source(source), code_target(target)
            distances = [decode_source(codes[0]) - source, decode_target(codes[1]) - target, codes[0] - codes[1]]
            first, second, third = (each.norm(dim=1).mean() for each in distances)
            adam.zero_grad()
            torch.autograd.backward(first + second + 2.0 * third)
            adam.step()
    folded = model.fold()
    assert folded is not None
    assert not folded[1].any()
    torch.testing.assert_close(folded[0].float(), (decode_target.weight @ code_source.weight).T, rtol=0.0, atol=1e-5)


def test_the_released_form_knows_overlap_users_alone() -> None:
    base = DATA.problem.source_base
    moved = base.user_vectors.clone()
    moved[DATA.test.source_rows] *= -3.0
    fitted = []
    for vectors in (base.user_vectors, moved):
        model = LACDR(LACDRConfig(reconstruct="overlap", epochs=2))
        model.fit(
            replace(DATA.problem, source_base=replace(base, user_vectors=vectors)),
            generator=torch.Generator().manual_seed(0),
        )
        fitted.append(model.transfer(base.user_vectors))
    assert torch.equal(*fitted)
