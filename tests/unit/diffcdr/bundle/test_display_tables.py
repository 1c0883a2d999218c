"""The optional tables of a bundle that people look at, and the look-up of ids by how they begin."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffcdr.bundle.display_tables import SourceHistory, UserMap
from diffcdr.bundle.ids import IdTable
from diffcdr.bundle.reader import open_bundle
from diffcdr.bundle.writer import BundleWriter
from diffcdr.errors import BundleError
from tests.bundles import write_bundle

IDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6)


@given(ids=st.sets(IDS, max_size=30), prefix=st.text(max_size=4), limit=st.integers(0, 10))
def test_ids_are_found_by_how_they_begin(ids: set[str], prefix: str, limit: int) -> None:
    table = IdTable.build(ids)
    expected = sorted((text for text in ids if text.startswith(prefix)), key=lambda text: text.encode())[:limit]
    assert [table[row] for row in table.starting_with(prefix, limit)] == expected


def test_a_bundle_keeps_histories_and_map(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", users=20, source_items=9, console=True)
    bundle = open_bundle(tmp_path / "bundle")
    history, user_map = bundle.console.history, bundle.console.map
    assert history is not None and user_map is not None
    items, ratings = history.of(7)
    assert len(items) == 3 and ratings.tolist() == sorted(ratings.tolist(), reverse=True)
    stored = dict(zip(history.items[21:24].tolist(), history.ratings[21:24].tolist(), strict=True))
    assert dict(zip(items.tolist(), ratings.tolist(), strict=True)) == stored
    assert user_map.source.shape == user_map.transferred.shape == user_map.target.shape == (len(user_map.users), 2)
    assert user_map.item_points.shape == (len(user_map.items), 2)
    assert {name: points.shape for name, points in user_map.others.items()} == {"ridge": user_map.target.shape}


def test_equal_ratings_stand_in_item_order() -> None:
    history = SourceHistory(np.array([0, 4]), np.array([1, 2, 5, 9], np.int32), np.array([3, 5, 3, 5], np.float32))
    assert history.of(0)[0].tolist() == [2, 9, 1, 5]


def test_a_bundle_without_them_opens(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle")
    tables = open_bundle(tmp_path / "bundle").console
    assert tables.history is None and tables.map is None


def test_histories_of_other_users_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = SourceHistory.write

    def shorter(self: SourceHistory, writer: BundleWriter) -> None:
        plain(SourceHistory(self.indptr[:-1], self.items, self.ratings), writer)

    monkeypatch.setattr(SourceHistory, "write", shorter)
    write_bundle(tmp_path / "bundle", users=20, console=True)
    with pytest.raises(BundleError, match="source_history has 19 users, not 20"):
        open_bundle(tmp_path / "bundle")


def test_points_of_other_users_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = UserMap.write

    def shorter(self: UserMap, writer: BundleWriter) -> None:
        plain(replace(self, others={"ridge": self.others["ridge"][1:]}), writer)

    monkeypatch.setattr(UserMap, "write", shorter)
    write_bundle(tmp_path / "bundle", users=20, console=True)
    with pytest.raises(BundleError, match="map/others/ridge"):
        open_bundle(tmp_path / "bundle")
