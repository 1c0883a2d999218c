"""Slices hold every rating once, users whole."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.spark.slices import each_user, rating_slices, read_slice


@settings(max_examples=50)
@given(
    counts=st.lists(st.integers(0, 30), min_size=1, max_size=20).filter(any),
    at_least=st.integers(1, 12),
    held=st.sets(st.integers(0, 19)),
)
def test_slices_are_a_partition_by_users(counts: list[int], at_least: int, held: set[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder), counts, at_least=at_least, held=held)


def check(folder: Path, counts: list[int], *, at_least: int, held: set[int]) -> None:
    write(folder, counts)
    rows = np.repeat(np.arange(len(counts)), counts)
    kept = np.array(sorted(user for user in held if user < len(counts)), dtype=np.int64)
    parts = rating_slices(folder, n_users=len(counts), at_least=at_least)
    assert [part.first_user for part in parts[1:]] == [part.stop_user for part in parts[:-1]]
    assert (parts[0].first_user, parts[-1].stop_user, parts[-1].stop) == (0, len(counts), len(rows))
    read = [read_slice(folder, part, held=kept) for part in parts]
    wanted = ~np.isin(rows, kept)
    np.testing.assert_array_equal(np.concatenate([each.users for each in read]), rows[wanted])
    np.testing.assert_array_equal(np.concatenate([each.items for each in read]), np.arange(len(rows))[wanted])
    sizes = [len(items) for each, part in zip(read, parts, strict=True) for items in each_user(each, part)]
    assert sizes == [0 if user in held else count for user, count in enumerate(counts)]


def write(folder: Path, counts: list[int]) -> None:
    rows = np.repeat(np.arange(len(counts)), counts)
    np.save(folder / "user_rows.npy", rows)
    np.save(folder / "item_rows.npy", np.arange(len(rows)))
    np.save(folder / "ratings.npy", np.ones(len(rows), dtype=np.float32))
