"""Zeros that the settings add: learnt by base models and mappings, counted as ratings by nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from diffcdr.bundle.reader import open_bundle
from diffcdr.recommend.recommender import Query, Recommendation, Recommender
from tests.unit.training.tiny import QUICK, load, quick_run, write_domains
from training import fit
from training.data.domains import DomainPair
from training.models.baselines.cmf import joint_table
from training.models.batching import UserRatings
from training.run.fine_tune import fine_tune
from training.run.fit import evaluate_test, fit_model
from training.run.grids import criterion
from training.run.prepare import Prepared, prepare
from training.run.run import Run


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> DomainPair:
    return load(tmp_path_factory.mktemp("negatives"))


@pytest.fixture(scope="module")
def run() -> Run:
    return quick_run("base.negatives=2")


@pytest.fixture(scope="module")
def prepared(pair: DomainPair, run: Run) -> Prepared:
    return prepare(pair, run)


def test_every_learner_gets_the_same_zeros_and_histories_get_none(pair: DomainPair, prepared: Prepared) -> None:
    problem, plain = prepared.problem, prepare(pair, quick_run()).problem
    zeros = problem.target_zeros
    assert zeros is not None and problem.source_zeros is not None
    assert len(problem.target) == len(plain.target) and plain.target_zeros is None
    gathered, before = UserRatings.of_overlap(problem), UserRatings.of_overlap(plain)
    of_overlap = int(np.isin(zeros.users, problem.overlap_target.numpy()).sum())
    assert len(gathered.ratings) == len(before.ratings) + of_overlap
    assert int((gathered.ratings == 0).sum()) == of_overlap > 0
    assert len(joint_table(problem)) == len(joint_table(plain)) + len(zeros) + len(problem.source_zeros)
    assert not torch.equal(problem.target_base.user_vectors, plain.target_base.user_vectors)
    # A held-out user has no target rating, so no zero either.
    assert not np.isin(zeros.users, pair.overlap_target[prepared.split.test]).any()


@pytest.mark.parametrize("name", ["emcdr", "cmf", "tmcdr", "savae", "cdrib", "vdea", "diffcdr"])
def test_scores_order_items_and_predict_no_rating(prepared: Prepared, run: Run, name: str) -> None:
    fitted = fit_model(name, prepared, run)
    metrics = evaluate_test(fitted, prepared)
    assert metrics.rmse is None
    assert 0.0 < metrics.ndcg <= metrics.hr
    assert "ndcg" in fitted.report.epochs[0]
    best = max(figures["ndcg"] for figures in fitted.report.epochs)
    assert fitted.report.epochs[fitted.report.best_epoch - 1]["ndcg"] == best
    assert criterion(run.config, name) == "ndcg@20"
    tuned = fine_tune(fitted, prepared, seed=0, negatives=2)
    assert tuned is not None and tuned.metrics.rmse is None


def test_models_without_base_models_still_predict_ratings(prepared: Prepared, run: Run) -> None:
    plain = evaluate_test(fit_model("bias", prepared, run), prepared)
    assert plain.rmse is not None


def test_known_users_are_served_and_new_ones_get_the_popular_list(tmp_path: Path) -> None:
    source, target = write_domains(tmp_path)
    settings = [*QUICK, "base.negatives=1"]
    trained = fit(source, target, preset="reference", models="emcdr", settings=settings)
    trained.publish(tmp_path / "bundle", held_out="cold")
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.manifest.scoring.objective == "ranking"
    (user,) = bundle.source_users.ids.take(trained.prepared.test.source_rows.numpy()[:1])
    known, new = Recommender(bundle).answer([Query(user, k=3), Query(None, k=3, history=(("films-00", 5.0),))])
    assert isinstance(known, Recommendation) and isinstance(new, Recommendation)
    assert (known.strategy, new.strategy) == ("transfer", "popular")
