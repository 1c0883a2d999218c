"""Zeros for what users have not rated: never a rated pair, each pair once, the same at every call."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.base_models.unrated import Unrated, drawn_zeros, joined
from training.rating_table import RatingTable

N_ITEMS = 6
HISTORIES = st.lists(st.sets(st.integers(0, N_ITEMS - 1)), min_size=1, max_size=5)


def table_of(histories: list[set[int]]) -> RatingTable:
    pairs = [(user, item) for user, items in enumerate(histories) for item in sorted(items)]
    users, items = (np.array([pair[n] for pair in pairs], dtype=np.int64) for n in (0, 1))
    return RatingTable(users, items, np.full(len(pairs), 4.0, dtype=np.float32), len(histories), N_ITEMS)


def pairs_of(table: RatingTable) -> list[tuple[int, int]]:
    return list(zip(table.users.tolist(), table.items.tolist(), strict=True))


@given(histories=HISTORIES, per_rating=st.integers(1, 30), seed=st.integers(0, 3))
def test_zeros_are_of_unrated_pairs_each_once(histories: list[set[int]], per_rating: int, seed: int) -> None:
    table = table_of(histories)
    zeros = drawn_zeros(table, per_rating=per_rating, generator=torch.Generator().manual_seed(seed))
    again = drawn_zeros(table, per_rating=per_rating, generator=torch.Generator().manual_seed(seed))
    found = pairs_of(zeros)
    assert found == sorted(set(found)) == pairs_of(again)
    assert not set(found) & set(pairs_of(table))
    assert not zeros.ratings.any()
    for user, items in enumerate(histories):
        free = N_ITEMS - len(items)
        mine = [item for owner, item in found if owner == user]
        assert min(1, free) * bool(items) <= len(mine) <= min(free, len(items) * per_rating)
    both = joined(table, zeros)
    assert pairs_of(both) == sorted(pairs_of(table) + found)
    assert joined(table, None) is table


def test_draws_are_uniform_over_what_is_not_rated() -> None:
    table = table_of([{1, 4}, {0}])
    drawn = Unrated.of(table).draw(torch.zeros(40_000, dtype=torch.int64), generator=torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn, minlength=N_ITEMS) / len(drawn)
    torch.testing.assert_close(shares, torch.tensor([0.25, 0.0, 0.25, 0.25, 0.0, 0.25]), atol=0.01, rtol=0.0)
