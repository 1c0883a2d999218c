"""``base.positive_threshold``: likes alone are learnt from and judged by, and served as they were learnt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diffcdr.bundle.reader import open_bundle
from diffcdr.errors import InputError
from diffcdr.recommend.query import Query, Recommendation
from diffcdr.recommend.recommender import Recommender
from tests.command import run as command
from tests.unit.training.tiny import RANGE, load, write_domains
from training.config import load_preset
from training.data.domains import DomainPair
from training.export.bundle import publish_bundle
from training.export.run_manifest import RunFacts
from training.run.finish import finish
from training.run.fit import fit_model
from training.run.prepare import prepare
from training.run.run import Run
from training.train_plan import TrainPlan, likes_settings

ALS = ("base.dim=[4]", "diffcdr.als_dims=[4]", "diffcdr.target_dims=[4]", "diffcdr.history_dim=8")
SPARSE = ("diffcdr.neighbour_shares=[1.0]", "diffcdr.popularity_shares=[0.0]")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> DomainPair:
    return load(tmp_path_factory.mktemp("data"))


def likes_run(*settings: str) -> Run:
    return Run(config=load_preset("ranking", [*ALS, *SPARSE, *settings]), seed=0, rating_range=RANGE)


def test_likes_alone_are_learnt_from_and_judged_by_and_users_are_divided_alike(pair: DomainPair) -> None:
    every, likes = prepare(pair, likes_run()), prepare(pair, likes_run("base.positive_threshold=[3, 4]"))
    assert likes.likes == (3.0, 4.0)
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(likes.split, name), getattr(every.split, name))
    assert likes.problem.source.ratings.min() >= 3.0
    assert likes.complete is not None
    for table in (likes.problem.target, likes.complete.target, likes.problem.validation.ratings, likes.test.ratings):
        assert table.ratings.min() >= 4.0
    whole = every.test.ratings
    assert len(likes.test.ratings) == np.count_nonzero(whole.ratings >= 4.0) < len(whole)
    target = likes.pair.target
    assert len(target.disliked[0]) + len(target.ratings) == len(pair.target.ratings)


def test_a_bundle_serves_likes_as_they_were_learnt_and_lists_nothing_that_was_disliked(
    pair: DomainPair, tmp_path: Path
) -> None:
    run = likes_run("base.positive_threshold=4")
    prepared = prepare(pair, run)
    fitted = fit_model("diffcdr", prepared, run)
    facts = RunFacts(
        preset="ranking",
        config=run.config,
        seed=0,
        rating_range=RANGE,
        metrics={"validation": {"diffcdr": fitted.validation}},
    )
    publish_bundle(finish(fitted, prepared, seed=0), facts, destination=tmp_path / "bundle")
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.manifest.likes is not None and bundle.manifest.likes.source == 4.0
    recommender, source, target = Recommender(bundle), pair.source, pair.target
    cold = [row for row, user in enumerate(source.users) if bundle.target_users.ids.row(user) < 0]
    told = 0
    for row in cold[:4]:
        mine = source.user_rows == row
        rated = zip(source.items.take(source.item_rows[mine]), source.ratings[mine].tolist(), strict=True)
        known, stranger = recommender.answer(
            [Query(source.users[row], explain=True), Query(None, history=tuple(rated))]
        )
        assert isinstance(known, Recommendation) and isinstance(stranger, Recommendation)
        np.testing.assert_allclose(stranger.scores, known.scores, rtol=1e-3, atol=1e-5)
        assert known.explanations is not None
        told += sum(len(why.sources) for why in known.explanations)
        assert all(source_.rating >= 4.0 for why in known.explanations for source_ in why.sources)
        assert all(abs(why.rest) < 1e-5 for why in known.explanations)
    assert told
    for row, user in enumerate(bundle.target_users.ids):
        mine = target.user_rows == target.users.row(user)
        assert bundle.target_users.seen(row).tolist() == target.item_rows[mine].tolist()
        assert bundle.target_users.liked(row).tolist() == target.item_rows[mine & (target.ratings >= 4.0)].tolist()


def test_what_is_no_threshold_is_refused_and_so_are_models_of_ratings(pair: DomainPair) -> None:
    assert likes_settings("8,4", "ranking", ()) == ["base.positive_threshold=[8.0, 4.0]"]
    for text in ("four", "1,2,3", "nan", ""):
        with pytest.raises(InputError, match="is not understood"):
            TrainPlan.parse("ranking", positive_threshold=text)
    with pytest.raises(InputError, match="learn the value of each"):
        TrainPlan.parse("robust", positive_threshold="4")
    with pytest.raises(InputError, match=r"no rating of films.csv is 6 or more; .* highest rating, 5"):
        prepare(pair, likes_run("base.positive_threshold=6"))


def test_the_command_says_how_many_ratings_are_likes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = write_domains(tmp_path)
    sets = [part for each in (*ALS, *SPARSE) for part in ("--set", each)]
    files = ["--source", source, "--target", target, "--bundle", tmp_path / "bundle", "--positive-threshold", "4"]
    assert command("train", *files, "--model", "popular", *sets) == 0
    said = capsys.readouterr().err
    assert "likes are" in said and "from 4 on" in " ".join(said.split())
    assert command("inspect", tmp_path / "bundle") == 0
    assert "ratings from 4 (source)" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("base", "--tables", "none", "--set", "base.positive_threshold=4"), "fitted to every rating of the tables"),
        (("experiment", "--source", "a", "--target", "b", "--out", "c", "--positive-threshold", "x"), "'x' is not"),
    ],
)
def test_commands_that_cannot_take_it_say_so(
    words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*words) == 2
    assert says in " ".join(capsys.readouterr().err.split())
