"""Ids and titles survive the round trip, and look-ups find what is there and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffcdr.bundle.ids import MAX_ID_BYTES, IdTable
from diffcdr.bundle.titles import TitleTable
from diffcdr.errors import InputError

usable_ids = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
anything = st.text(st.characters(), max_size=400)


@given(st.lists(usable_ids), st.lists(anything))
def test_rows_and_ids_are_inverse(ids: list[str], others: list[str]) -> None:
    table = IdTable.build(ids)
    assert len(table) == len(set(ids))
    assert table.take(np.arange(len(table))) == sorted(set(ids), key=lambda text: text.encode())
    assert table.take(table.rows(ids)) == ids
    assert all(table[table.row(text)] == text for text in ids)
    unknown = [text for text in others if text not in set(ids)]
    assert table.rows(unknown).tolist() == [-1] * len(unknown)


@given(st.lists(usable_ids), st.lists(usable_ids))
def test_rows_of_another_table(first: list[str], second: list[str]) -> None:
    one, other = IdTable.build(first), IdTable.build(second)
    assert one.rows_of(other.array).tolist() == one.rows(other.take(np.arange(len(other)))).tolist()


@pytest.mark.parametrize("bad", ["", "a\0", "\0", "é" * (MAX_ID_BYTES // 2 + 1), "\ud800"])
def test_unusable_ids_are_refused_and_never_found(bad: str) -> None:
    with pytest.raises(InputError, match="cannot be used"):
        IdTable.build(["fine", bad])
    assert IdTable.build(["fine", "a"]).row(bad) == -1


def test_the_longest_id_is_usable() -> None:
    longest = "é" * (MAX_ID_BYTES // 2)
    assert IdTable.build([longest])[0] == longest


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_titles_come_back(titles: list[str]) -> None:
    table = TitleTable.build(titles)
    assert [table[row] for row in range(len(titles))] == [title or None for title in titles]
