"""Batches against a plain loop, and blocks against one product."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.training.models.planted import planted
from training.models.batching import UserRatings, blockwise

DATA = planted()
RATINGS = UserRatings.of_overlap(DATA.problem)


def true_ratings(position: int) -> dict[int, float]:
    """item -> rating of one training overlap user, straight from the table."""
    table = DATA.problem.target
    mine = table.users == DATA.problem.overlap_target[position]
    return dict(zip(table.items[mine].tolist(), table.ratings[mine].tolist(), strict=True))


@given(batch_size=st.integers(1, 130), seed=st.integers(0, 50))
def test_user_batches_hold_each_user_once_with_all_ratings(batch_size: int, seed: int) -> None:
    seen: list[int] = []
    for batch in RATINGS.batches("users", batch_size=batch_size, generator=torch.Generator().manual_seed(seed)):
        seen += batch.users.tolist()
        for row in {0, len(batch.users) - 1}:
            mine = batch.rated == row
            got = dict(zip(batch.items[mine].tolist(), batch.ratings[mine].tolist(), strict=True))
            assert got == true_ratings(int(batch.users[row]))
    assert sorted(seen) == list(range(len(DATA.problem.overlap_target)))


@given(batch_size=st.integers(1, 2000), seed=st.integers(0, 50))
def test_rating_batches_hold_each_rating_once(batch_size: int, seed: int) -> None:
    seen: list[tuple[int, int]] = []
    for batch in RATINGS.batches("ratings", batch_size=batch_size, generator=torch.Generator().manual_seed(seed)):
        assert torch.equal(batch.rated, torch.arange(len(batch.users)))
        seen += zip(batch.users.tolist(), batch.items.tolist(), strict=True)
        assert float(batch.ratings[0]) == true_ratings(int(batch.users[0]))[int(batch.items[0])]
    assert len(seen) == len(set(seen)) == len(DATA.problem.target)


def test_overlap_order_is_kept_where_target_rows_are_not_sorted() -> None:
    problem = DATA.problem
    order = torch.randperm(len(problem.overlap_target), generator=torch.Generator().manual_seed(1))
    shuffled = UserRatings.of_overlap(
        type(problem)(**{**vars(problem), "overlap_target": problem.overlap_target[order], "overlap_source": order})
    )
    mine = slice(int(shuffled.starts[4]), int(shuffled.starts[5]))
    got = dict(zip(shuffled.items[mine].tolist(), shuffled.ratings[mine].tolist(), strict=True))
    assert got == true_ratings(int(order[4]))


@given(rows=st.integers(0, 600))
def test_blocks_cover_every_row(rows: int) -> None:
    vectors = torch.arange(rows * 2, dtype=torch.float64).reshape(rows, 2)
    assert torch.equal(blockwise(lambda part: part * 2.0 + 1.0, vectors, width=2), vectors * 2.0 + 1.0)
