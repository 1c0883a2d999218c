"""The preset that serves lists, by its commands: better than the popular list, and a history gives its user's list."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from diffcdr.bundle.reader import Bundle, open_bundle
from diffcdr.recommend.recommender import Query, Recommendation, Recommender
from tests.command import said
from training.evaluation.ranking import UserLists, ranking_metrics

K = 20
FORM = ("--set", "diffcdr.folds=2", "--held-out", "cold")
"""Two folds in place of five: choices are a little rougher, in a third of the time; lists as they were measured."""
USERS = 150


@pytest.fixture(scope="module")
def rating_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Generated domains."""
    folder = tmp_path_factory.mktemp("ratings")
    said("synth", "--out", folder, "--users", "1500", "--items", "400", "--seed", "1")
    return folder / "films.parquet", folder / "books.parquet"


@pytest.fixture(scope="module")
def published(rating_files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, str]:
    """The bundle of the default preset, and what training said."""
    source, target = rating_files
    path = tmp_path_factory.mktemp("ranking") / "bundle"
    screen = said("train", "--source", source, "--target", target, "--bundle", path, *FORM)
    return open_bundle(path), screen


def test_the_published_model_beats_the_popular_list_and_needs_no_warning(published: tuple[Bundle, str]) -> None:
    bundle, screen = published
    manifest = bundle.manifest
    figures = manifest.metrics["test"]
    assert (manifest.preset, manifest.model) == ("ranking", "diffcdr")
    assert figures["diffcdr"]["ndcg@20"] > 1.2 * figures["popular"]["ndcg@20"]
    assert "warning" not in screen.lower()


def test_the_bundle_serves_the_lists_that_were_measured(
    published: tuple[Bundle, str], rating_files: tuple[Path, Path]
) -> None:
    bundle = published[0]
    ratings = pl.read_parquet(rating_files[1]).select("user_id", "item_id").unique()
    known = bundle.source_users.ids
    held = sorted(
        user
        for user in ratings["user_id"].unique().to_list()
        if known.row(user) >= 0 and bundle.target_users.ids.row(user) < 0
    )
    answers = Recommender(bundle).answer([Query(user, k=K) for user in held])
    assert all(isinstance(answer, Recommendation) and answer.strategy == "transfer" for answer in answers)
    lists = np.array(
        [bundle.target_items.ids.rows(each.item_ids) for each in answers if isinstance(each, Recommendation)]
    )
    relevant = ratings.filter(pl.col("user_id").is_in(held))
    places = {user: place for place, user in enumerate(held)}
    theirs = UserLists.build(
        np.array([places[user] for user in relevant["user_id"]]),
        bundle.target_items.ids.rows(relevant["item_id"].to_list()),
        n_users=len(held),
    )
    measured = bundle.manifest.metrics["test"]["diffcdr"]
    assert len(held) == bundle.manifest.provenance.split["test"]
    assert ranking_metrics(lists, theirs).ndcg.mean() == pytest.approx(measured["ndcg@20"], rel=1e-12)


def test_scores_are_said_to_order_only(published: tuple[Bundle, str]) -> None:
    manifest = published[0].manifest
    assert (manifest.scoring.objective, manifest.scoring.rating_range) == ("ranking", None)
    assert "rmse" not in manifest.metrics["test"]["diffcdr"]
    assert "rmse" in manifest.metrics["test"]["bias"]


def test_a_known_users_history_gives_nearly_the_users_list(
    published: tuple[Bundle, str], rating_files: tuple[Path, Path]
) -> None:
    bundle = published[0]
    ratings = pl.read_parquet(rating_files[0]).select("user_id", "item_id", "rating")
    # Cold-start users: those the target has no training ratings of.
    ids = bundle.source_users.ids
    cold = [user for user in ids.take(np.arange(len(ids))) if bundle.target_users.ids.row(user) < 0][:USERS]
    histories = ratings.filter(pl.col("user_id").is_in(cold)).partition_by("user_id", as_dict=True)
    recommender = Recommender(bundle)
    shared = []
    for user in cold:
        own = histories[(user,)]
        history = tuple(zip(own["item_id"].to_list(), own["rating"].to_list(), strict=True))
        known, stranger = recommender.answer([Query(user, k=K), Query(None, k=K, history=history)])
        assert isinstance(known, Recommendation)
        assert isinstance(stranger, Recommendation)
        assert (known.strategy, stranger.strategy) == ("transfer", "fold_in")
        shared.append(len(set(known.item_ids) & set(stranger.item_ids)) / K)
    assert np.mean(shared) >= 0.98


def test_scores_are_the_sum_of_the_shares_of_ratings(published: tuple[Bundle, str]) -> None:
    """Of new and of warm users: nothing remains that no rating accounts for."""
    recommender, ids = Recommender(published[0]), published[0].source_users.ids
    users = ids.take(np.arange(0, len(ids), len(ids) // USERS))
    named = 0
    for answer in recommender.answer([Query(user, k=K, explain=True) for user in users]):
        assert isinstance(answer, Recommendation)
        assert answer.explanations is not None
        for score, why in zip(answer.scores, answer.explanations, strict=True):
            assert why.total == pytest.approx(score, abs=1e-9)
            assert abs(why.rest) < 1e-5 * max(answer.scores)
            named += len(why.sources) > 0
    assert named > 0.9 * K * len(users)
