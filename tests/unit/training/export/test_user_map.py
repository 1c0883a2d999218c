"""Histories and the map as training makes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from diffcdr.bundle.display_tables import MAP_TABLES
from diffcdr.bundle.reader import Bundle, open_bundle
from diffcdr.cli import main
from training.export.user_map import MAP_ITEMS, MAP_USERS, _plane


def run(*arguments: str | Path) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert stop.value.code == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("map")
    run("synth", "--out", folder, "--users", "400", "--items", "80", "--ratings-per-user", "15")
    for name, options in (("bundle", []), ("again", ["--no-histories"])):
        files = ["--source", folder / "films.parquet", "--target", folder / "books.parquet"]
        settings = ["--set", "base.dim=8", "--set", "diffcdr.history_dim=8"]
        run("train", *files, "--preset", "ranking", "--models", "ridge", *settings, "--bundle", folder / name, *options)
    return folder


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return open_bundle(folder / "bundle")


def test_histories_are_the_ratings_that_were_read(folder: Path, bundle: Bundle) -> None:
    history = bundle.console.history
    assert history is not None
    ratings = pl.read_parquet(folder / "films.parquet")
    assert len(history.items) == ratings.height
    for row in (0, 17, len(bundle.source_users.ids) - 1):
        items, stars = history.of(row)
        shown = dict(zip(bundle.source_items.ids.take(items), stars.tolist(), strict=True))
        mine = ratings.filter(pl.col("user_id") == bundle.source_users.ids[row])
        assert shown == dict(zip(mine["item_id"], mine["rating"], strict=True))


def test_the_map_shows_training_users_and_the_most_rated_items_and_is_the_same_each_time(
    folder: Path, bundle: Bundle
) -> None:
    user_map = bundle.console.map
    again = open_bundle(folder / "again").console
    assert user_map is not None and again.map is not None and again.history is None
    assert 0 < len(user_map.users) <= MAP_USERS and len(user_map.items) == MAP_ITEMS
    # Held-out users are cold: on the map are those alone whose target ratings the model has seen.
    assert (bundle.target_users.ids.rows(bundle.source_users.ids.take(user_map.users)) >= 0).all()
    popularity = bundle.target_items.popularity
    assert popularity[user_map.items].tolist() == sorted(popularity.tolist(), reverse=True)[:MAP_ITEMS]
    for name in MAP_TABLES:
        assert np.array_equal(getattr(user_map, name), getattr(again.map, name)), name
    # Of the plain models these two carry users among item vectors for lists.
    assert [*user_map.others] == [*again.map.others] == ["dual_ridge", "ridge"]
    assert np.array_equal(user_map.others["ridge"], again.map.others["ridge"])
    apart = np.linalg.norm(user_map.others["ridge"] - user_map.transferred, axis=1)
    elsewhere = np.linalg.norm(user_map.others["ridge"][::-1] - user_map.transferred, axis=1)
    assert 0 < np.median(apart) < np.median(elsewhere)
    assert np.abs(np.concatenate([user_map.transferred, user_map.target, user_map.item_points])).max() <= 1.0


def test_a_plane_holds_whatever_there_is() -> None:
    for rows in (np.zeros((5, 3)), np.ones((3, 1)), np.eye(4), np.random.default_rng(0).normal(size=(40, 1))):
        first, second = _plane([rows[:2].astype(np.float32), rows[2:].astype(np.float32)], seed=0)
        assert first.shape == (2, 2) and second.shape == (len(rows) - 2, 2)
        assert np.isfinite(first).all() and np.isfinite(second).all()
