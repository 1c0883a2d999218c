"""Training that goes on sees the known halves, and nothing else of the held-out users."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.unit.training.tiny import quick_prepared, quick_run
from training.models.registry import MODELS
from training.problem import HeldOut
from training.rating_table import RatingTable
from training.run.fine_tune import fine_tune, warm_problem
from training.run.fit import evaluate_test, fit_model
from training.run.prepare import Prepared, prepare
from training.run.run import Run
from training.run.warm_start import halve


@pytest.fixture(scope="module")
def run() -> Run:
    return quick_run()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Prepared:
    return quick_prepared(tmp_path_factory.mktemp("tuning"), run)


def upside_down(held_out: HeldOut, judged: RatingTable) -> HeldOut:
    """``held_out`` with the ``judged`` ratings turned about; they are among its own."""
    ratings = held_out.ratings
    pairs = set(zip(judged.users.tolist(), judged.items.tolist(), strict=True))
    turned = [pair in pairs for pair in zip(ratings.users.tolist(), ratings.items.tolist(), strict=True)]
    values = np.where(turned, np.float32(6.0) - ratings.ratings, ratings.ratings)
    return replace(held_out, ratings=replace(ratings, ratings=values))


def ids_of(table: RatingTable) -> set[tuple[int, int]]:
    return set(zip(table.users.tolist(), table.items.tolist(), strict=True))


def test_what_there_is_to_learn_from_is_the_known_halves(prepared: Prepared) -> None:
    problem, test = warm_problem(prepared, seed=0)
    pair, split = prepared.pair, prepared.split
    known = set()
    for users, held_out in ((split.validation, prepared.problem.validation), (split.test, prepared.test)):
        half = halve(pair, users, held_out, seed=0).known
        known |= set(zip(pair.overlap_target[users][half.users].tolist(), half.items.tolist(), strict=True))
    assert ids_of(problem.target) == known
    keys = problem.target.users * problem.target.n_items + problem.target.items
    assert (np.diff(keys) > 0).all()
    assert sorted(problem.overlap_target.tolist()) == sorted({user for user, _ in known})
    names = (pair.source.users.array[problem.overlap_source], pair.target.users.array[problem.overlap_target])
    assert (names[0] == names[1]).all()
    # Their target vectors say what they have rated; everyone else's stay.
    before, after = prepared.problem.target_base.user_vectors, problem.target_base.user_vectors
    changed = torch.nonzero((before != after).any(dim=1)).squeeze(1)
    assert changed.tolist() == sorted(problem.overlap_target.tolist())
    assert not len(set(problem.validation.source_rows.tolist()) & set(test.source_rows.tolist()))


@pytest.mark.parametrize("name", ["emcdr", "cmf", "diffcdr"])
def test_judged_ratings_of_test_users_teach_nothing(prepared: Prepared, run: Run, name: str) -> None:
    fitted = fit_model(name, prepared, run)
    tuned = fine_tune(fitted, prepared, seed=0)
    judged = halve(prepared.pair, prepared.split.test, prepared.test, seed=0).judged
    other = fine_tune(fitted, replace(prepared, test=upside_down(prepared.test, judged)), seed=0)
    assert tuned is not None and other is not None
    # What was trained is the same; what it is judged by is not.
    assert tuned.report.epochs == other.report.epochs
    assert (tuned.metrics.ndcg, tuned.metrics.ratings) == (other.metrics.ndcg, other.metrics.ratings)
    assert tuned.metrics.rmse != other.metrics.rmse
    cold = evaluate_test(fitted, prepared)
    assert tuned.metrics.users == cold.users and tuned.metrics.ratings == len(judged) < cold.ratings


def test_models_without_epochs_are_not_trained_further(prepared: Prepared, run: Run) -> None:
    for name in ("bias", "tgt", "ridge"):
        assert not hasattr(MODELS[name].config(), "epochs")
        assert fine_tune(fit_model(name, prepared, run), prepared, seed=0) is None


def test_the_base_models_of_lists_have_vectors_of_known_ratings_too(prepared: Prepared) -> None:
    problem = prepared.problem
    run = quick_run("base.kind=als", "base.dim=3")
    with_als = prepare(prepared.pair, run)
    warm, _ = warm_problem(with_als, seed=0)
    moved = warm.target_base.user_vectors[warm.overlap_target]
    assert bool((moved != 0).any(dim=1).all())
    assert warm.target.n_users == problem.target.n_users
