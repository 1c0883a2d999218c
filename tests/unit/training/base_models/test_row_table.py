"""Rows under Adam, against torch's own optimisers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from training.base_models.row_table import SETTLED_AFTER, RowTable, _tails

Step = tuple[Tensor, Tensor]


def steps(count: int, *, rows: int, dim: int = 3, batch: int = 5, seed: int = 0) -> list[Step]:
    """Rows of each batch, some more than once, and their gradients."""
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randint(rows, (batch,), generator=generator), torch.randn(batch, dim, generator=generator))
        for _ in range(count)
    ]


def plain_adam(start: Tensor, taken: list[Step], *, lr: float) -> Tensor:
    reference = torch.nn.Parameter(start.double())
    optimizer = torch.optim.Adam([reference], lr=lr)
    for rows, gradients in taken:
        reference.grad = torch.zeros_like(reference).index_add(0, rows, gradients.double())
        optimizer.step()
    return reference.detach().float()


def descended(table: RowTable, taken: list[Step]) -> RowTable:
    for rows, gradients in taken:
        table.descend(table.take(rows), gradients)
    table.apply_pending()
    return table


def test_lazy_steps_are_those_of_sparse_adam() -> None:
    start = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    taken = steps(20, rows=12)
    reference = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.SparseAdam([reference], lr=0.05)
    for rows, gradients in taken:
        reference.grad = torch.sparse_coo_tensor(rows[None], gradients, (12, 3), check_invariants=True)
        optimizer.step()
    table = descended(RowTable(start.clone(), lr=0.05, lazy=True), taken)
    torch.testing.assert_close(table.values, reference.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("swept_size", [1 << 30, 0], ids=["sweeping", "deferring"])
@given(
    rows=st.integers(1, 400),
    count=st.integers(1, 120),
    seed=st.integers(0, 2**31),
    scale=st.sampled_from([1.0, 1e4]),
)
@settings(max_examples=15)
def test_other_steps_are_those_of_adam(swept_size: int, rows: int, count: int, seed: int, scale: float) -> None:
    start = torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed))
    taken = [(at, scale * gradients) for at, gradients in steps(count, rows=rows, seed=seed)]
    table = RowTable(start.clone(), lr=0.05, lazy=False, swept_size=swept_size)
    torch.testing.assert_close(descended(table, taken).values, plain_adam(start, taken, lr=0.05), rtol=1e-4, atol=5e-5)


def test_a_row_that_idled_long_has_moved_as_far_as_in_plain_adam() -> None:
    start = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    both, other = torch.tensor([0, 1]), torch.tensor([1])
    taken = [(both, torch.randn(2, 3)), *((other, torch.randn(1, 3)) for _ in range(3000)), (both, torch.randn(2, 3))]
    table = descended(RowTable(start.clone(), lr=0.01, lazy=False, swept_size=0), taken)
    torch.testing.assert_close(table.values, plain_adam(start, taken, lr=0.01), rtol=1e-4, atol=1e-4)


def test_settling_on_the_way_changes_nothing() -> None:
    start = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    taken = steps(40, rows=50)
    once, twice = (RowTable(start.clone(), lr=0.05, lazy=False, swept_size=0) for _ in range(2))
    descended(once, taken)
    for part in (taken[:7], taken[7:30], taken[30:]):
        descended(twice, part)
    torch.testing.assert_close(once.values, twice.values, rtol=1e-5, atol=1e-6)
    values = once.values.clone()
    once.apply_pending()
    assert torch.equal(once.values, values)


def test_moves_to_come_end_in_those_without_corrections() -> None:
    tails, _ = _tails()
    assert float(tails[-1]) == pytest.approx(0.9 / (0.999**0.5 - 0.9))
    assert float(tails[-2]) == pytest.approx(float(tails[SETTLED_AFTER]))
    # After the first step: the same sum, term after term.
    terms = (0.9**n / 0.999 ** (n / 2) * (1 - 0.999 ** (1 + n)) ** 0.5 / (1 - 0.9 ** (1 + n)) for n in range(1, 600))
    assert float(tails[1]) == pytest.approx(sum(terms))
