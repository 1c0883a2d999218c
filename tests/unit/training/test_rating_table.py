from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.problem import rating_tensors
from training.rating_table import RatingTable

N_USERS, N_ITEMS = 6, 5


@st.composite
def tables(draw: st.DrawFn) -> RatingTable:
    """Any set of rated pairs, in order."""
    pairs = sorted(draw(st.sets(st.tuples(st.integers(0, N_USERS - 1), st.integers(0, N_ITEMS - 1)))))
    ratings = draw(st.lists(st.floats(1, 5, width=32), min_size=len(pairs), max_size=len(pairs)))
    users, items = (np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1))
    return RatingTable(users, items, np.array(ratings, dtype=np.float32), N_USERS, N_ITEMS)


@given(tables())
def test_indptr_holds_each_users_ratings(table: RatingTable) -> None:
    indptr = table.indptr()
    assert (indptr.dtype, len(indptr)) == (np.int64, N_USERS + 1)
    for user in range(N_USERS):
        mine = slice(indptr[user], indptr[user + 1])
        assert (table.users[mine] == user).all()
    assert indptr[-1] == len(table)


@given(tables())
def test_sums_and_the_matrix_agree(table: RatingTable) -> None:
    matrix = table.matrix(table.values).toarray()
    np.testing.assert_allclose(table.user_sums(table.values), matrix.sum(axis=1))
    np.testing.assert_allclose(table.item_sums(table.values), matrix.sum(axis=0))
    assert table.user_sums().sum() == table.item_sums().sum() == len(table)


@given(tables(), st.integers(0, N_USERS - 1))
def test_take_keeps_columns_together(table: RatingTable, user: int) -> None:
    by_mask = table.take(table.users == user)
    by_rows = table.take(np.flatnonzero(table.users == user))
    for name in ("users", "items", "ratings"):
        np.testing.assert_array_equal(getattr(by_mask, name), getattr(table, name)[table.users == user])
        np.testing.assert_array_equal(getattr(by_mask, name), getattr(by_rows, name))
    assert (by_mask.n_users, by_mask.n_items) == (N_USERS, N_ITEMS)


@given(tables())
def test_tensors_hold_the_same_bits(table: RatingTable) -> None:
    columns = rating_tensors(table)
    for name, kind in (("users", torch.int64), ("items", torch.int64), ("ratings", torch.float32)):
        tensor = getattr(columns, name)
        assert tensor.dtype == kind
        assert tensor.numpy().tobytes() == getattr(table, name).tobytes()


def test_a_read_only_column_is_copied() -> None:
    column = np.arange(3)
    shared = rating_tensors(RatingTable(column, column, np.ones(3, dtype=np.float32), 3, 3)).users
    column[0] = 7
    assert shared[0] == 7
    column.flags.writeable = False
    copied = rating_tensors(RatingTable(column, column, np.ones(3, dtype=np.float32), 3, 3)).users
    copied[0] = 9
    assert column[0] == 7
