from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.unit.training.rating_tables import rating_table
from tests.unit.training.tiny import quick_prepared, quick_run
from training.data.domains import DomainPair
from training.experiment.warm_scenario import warm_figures
from training.models.contract import TransferModel
from training.run.fit import evaluate_test, fit_model
from training.run.prepare import Prepared, prepare
from training.run.run import Run
from training.run.warm_start import (
    COUNTS,
    Halves,
    adapt,
    blended,
    choose_warm,
    halve,
    own_vectors,
    stored_vectors,
    warm_spec,
)


@pytest.fixture(scope="module")
def run() -> Run:
    return quick_run()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Prepared:
    return quick_prepared(tmp_path_factory.mktemp("warm"), run)


@pytest.fixture(scope="module")
def model(prepared: Prepared, run: Run) -> TransferModel:
    return fit_model("emcdr", prepared, run).model


def test_halves(prepared: Prepared, seed: int = 3) -> None:
    table, halves = prepared.test.ratings, halves_of(prepared, seed=seed)
    pairs = [set(zip(t.users.tolist(), t.items.tolist(), strict=True)) for t in (table, halves.known, halves.judged)]
    assert not pairs[1] & pairs[2]
    assert pairs[1] | pairs[2] == pairs[0]
    counts = [np.bincount(t.users, minlength=table.n_users) for t in (table, halves.known, halves.judged)]
    np.testing.assert_array_equal(counts[1], counts[0] // 2)
    seen = halves.seen()
    for user in range(table.n_users):
        mine = seen.rows[seen.indptr[user] : seen.indptr[user + 1]]
        np.testing.assert_array_equal(mine, halves.known.items[halves.known.users == user])


def halves_of(prepared: Prepared, *, seed: int, pair: DomainPair | None = None) -> Halves:
    return halve(pair or prepared.pair, prepared.split.test, prepared.test, seed=seed)


def test_what_was_rated_first_is_known(prepared: Prepared) -> None:
    target = prepared.pair.target
    # Later items were rated earlier, two at a time.
    timed = replace(prepared.pair, target=replace(target, timestamps=-(target.item_rows // 2)))
    halves = halves_of(prepared, seed=0, pair=timed)
    for user in range(prepared.test.ratings.n_users):
        known, judged = (part.items[part.users == user] // 2 for part in (halves.known, halves.judged))
        assert not len(known) or known.min() >= judged.max()


def test_without_times_the_seed_decides_and_nothing_else(prepared: Prepared) -> None:
    first, again, other = (halves_of(prepared, seed=seed).known.items.tolist() for seed in (0, 0, 1))
    assert first == again != other
    # A user's halves do not hang on who else is held out.
    alone = prepared.split.test[:1]
    mine = prepared.test.ratings.users == 0
    held = replace(prepared.test, ratings=rating_table(
        prepared.test.ratings.users[mine], prepared.test.ratings.items[mine], prepared.test.ratings.ratings[mine],
        1, prepared.test.ratings.n_items))  # fmt: skip
    halves = halve(prepared.pair, alone, held, seed=0)
    whole = halves_of(prepared, seed=0)
    assert halves.known.items.tolist() == whole.known.items[whole.known.users == 0].tolist()


@pytest.mark.parametrize("name", ["mean", "bias", "popular", "emcdr", "diffcdr"])
def test_what_is_judged_reaches_no_vector(prepared: Prepared, run: Run, name: str) -> None:
    fitted = fit_model(name, prepared, run).model
    halves = halves_of(prepared, seed=0)
    judged = halves.judged
    upside_down = rating_table(judged.users, judged.items, 6.0 - judged.ratings, judged.n_users, judged.n_items)
    spec = warm_spec(fitted, prepared.problem, strength=1.0)
    first, second = (adapt(fitted, each, spec) for each in (halves, replace(halves, judged=upside_down)))
    np.testing.assert_array_equal(first, second)


def test_warm_figures_are_on_the_judged_half_and_better_where_the_taste_is_told(prepared: Prepared, run: Run) -> None:
    fitted = fit_model("tgt", prepared, run)  # knows nothing of a cold user
    cold, warm = evaluate_test(fitted, prepared), warm_figures(fitted, prepared, seed=0).metrics
    assert cold.beyond is not None and warm.beyond is not None and warm.beyond != cold.beyond
    halves = halves_of(prepared, seed=0)
    assert (warm.users, warm.ratings) == (cold.users, len(halves.judged))
    assert warm.ratings < cold.ratings
    assert warm.rmse_clipped is not None and cold.rmse_clipped is not None
    assert warm.rmse_clipped < cold.rmse_clipped


def test_a_model_that_cannot_move_stays(prepared: Prepared) -> None:
    run = quick_run("base.kind=als", "base.dim=3")
    with_als = prepare(prepared.pair, run)
    fitted = fit_model("popular", with_als, run)
    figures = warm_figures(fitted, with_als, seed=0)
    assert choose_warm(fitted, with_als, seed=0) is None
    assert 0.0 < figures.metrics.ndcg <= figures.metrics.hr
    assert {point.ndcg for point in figures.points} == {figures.metrics.ndcg}


def test_the_first_ratings_are_the_ones_rated_first(prepared: Prepared) -> None:
    target = prepared.pair.target
    timed = replace(prepared.pair, target=replace(target, timestamps=-target.item_rows))  # later items were rated first
    halves = halves_of(prepared, seed=0, pair=timed)
    for user in range(prepared.test.ratings.n_users):
        known = halves.known.items[halves.known.users == user].tolist()
        for count in (0, 1, 3, 100):
            first = halves.first(count)
            assert first.items[first.users == user].tolist() == known[max(0, len(known) - count) :]


def test_without_known_ratings_a_user_stays(prepared: Prepared, model: TransferModel) -> None:
    halves = halves_of(prepared, seed=0)
    spec = warm_spec(model, prepared.problem, strength=1.0)
    with torch.no_grad():
        cold = model.transfer(model.source_vectors()[halves.source_rows]).double().numpy()
    assert np.array_equal(adapt(model, halves, spec, count=0), cold)
    assert not np.array_equal(adapt(model, halves, spec, count=1), cold)


def test_quality_rises_with_the_first_ratings_where_the_taste_is_planted(prepared: Prepared) -> None:
    """On one set of judged ratings; a model that knows nothing of the source has the most to learn."""
    run = quick_run("base.epochs=30", "base.init_std=0.1")
    fitted = fit_model("tgt", prepare(prepared.pair, run), run)
    points = warm_figures(fitted, prepare(prepared.pair, run), seed=0).points
    assert [point.known for point in points] == [0, *COUNTS]
    errors = [point.rmse_clipped for point in points if point.rmse_clipped is not None]
    assert len(errors) == len(points)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.97 * errors[0]


def test_the_rule_of_interactions_is_that_of_their_base_model(prepared: Prepared) -> None:
    run = quick_run("base.kind=als", "base.dim=3", "diffcdr.form=gaussian", "diffcdr.history_dim=4")
    with_als = prepare(prepared.pair, run)
    spec = choose_warm(fit_model("diffcdr", with_als, run), with_als, seed=0)
    assert spec is not None
    assert (spec.kind, spec.confidence) == ("als", 10.0)


@pytest.mark.parametrize("name", ["ridge", "bias"])
def test_users_of_training_are_stored_as_the_validation_users_say(prepared: Prepared, run: Run, name: str) -> None:
    model, problem = fit_model(name, prepared, run).model, prepared.problem
    spec = warm_spec(model, problem, strength=3.0)
    assert spec is not None
    rows = np.arange(problem.target.n_users)
    own = stored_vectors(model, problem, rows, spec=spec)
    blend = stored_vectors(model, problem, rows, spec=spec.model_copy(update={"stored": "blended"}))
    overlap = problem.overlap_target.numpy()
    others = np.setdiff1d(rows, overlap)
    np.testing.assert_array_equal(own[others], blend[others])
    carried = np.zeros(own.shape)
    with torch.no_grad():
        carried[overlap] = model.transfer(model.source_vectors()[problem.overlap_source]).numpy()
    expected = blended(model.head(), spec, carried, problem.target)
    np.testing.assert_allclose(blend[overlap], expected[overlap], rtol=1e-6)
    if name == "bias":
        np.testing.assert_allclose(own, own_vectors(model, problem, problem.target), rtol=1e-6)
