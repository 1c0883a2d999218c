from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from tests.unit.training.tiny import quick_prepared, quick_run
from training.data.domains import DomainPair
from training.evaluation.evaluate import predict
from training.experiment.warm import Halves, _adapt, halve, warm_metrics
from training.models.base import RatingTable, TransferModel
from training.pipeline import Prepared, Run, evaluate_test, fit_model, prepare


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
    held = replace(prepared.test, ratings=RatingTable(
        prepared.test.ratings.users[mine], prepared.test.ratings.items[mine], prepared.test.ratings.ratings[mine],
        1, prepared.test.ratings.n_items))  # fmt: skip
    halves = halve(prepared.pair, alone, held, seed=0)
    whole = halves_of(prepared, seed=0)
    assert halves.known.items.tolist() == whole.known.items[whole.known.users == 0].tolist()


def test_ratings_move_a_vector_to_the_optimum(prepared: Prepared, model: TransferModel) -> None:
    halves, head = halves_of(prepared, seed=0), model.head()
    with torch.no_grad():
        start = model.transfer(model.source_vectors()[halves.source_rows]).double().numpy()
    moved = _adapt(model, prepared.problem, halves, 3.0)
    user = int(halves.known.users[0])
    mine = (halves.known.users == user).numpy()

    def cost(vector: Any) -> float:
        everyone = start.copy()
        everyone[user] = vector
        errors = (predict(everyone, head, halves.known) - halves.known.ratings.numpy())[mine]
        return float(np.square(errors).sum() + 3.0 * np.square(vector - start[user]).sum())

    found = minimize(cost, start[user], tol=1e-12).x
    np.testing.assert_allclose(moved[user], found, atol=1e-4)
    np.testing.assert_allclose(_adapt(model, prepared.problem, halves, 1e12), start, atol=1e-6)


def test_interactions_move_a_vector_to_the_optimum(prepared: Prepared) -> None:
    run = quick_run("base.kind=als", "base.dim=3")
    prepared = prepare(prepared.pair, run)
    base = prepared.problem.target_base
    assert base.feedback is not None
    model = fit_model("emcdr", prepared, run).model
    halves = halves_of(prepared, seed=0)
    with torch.no_grad():
        start = model.transfer(model.source_vectors()[halves.source_rows]).double().numpy()
    moved = _adapt(model, prepared.problem, halves, 0.5)
    items = base.item_vectors.double().numpy()
    strength = 0.5 * np.trace(items.T @ items) / items.shape[1]
    user = int(halves.known.users[0])
    has = np.zeros(len(items))
    has[halves.known.items[halves.known.users == user]] = 1.0
    weights = np.where(has == 1.0, base.feedback.confidence, 1.0)

    def cost(vector: Any) -> float:
        return float(weights @ np.square(has - items @ vector) + strength * np.square(vector - start[user]).sum())

    np.testing.assert_allclose(moved[user], minimize(cost, start[user], tol=1e-12).x, atol=1e-4)


@pytest.mark.parametrize("name", ["mean", "bias", "popular", "emcdr", "diffcdr"])
def test_what_is_judged_reaches_no_vector(prepared: Prepared, run: Run, name: str) -> None:
    fitted = fit_model(name, prepared, run).model
    halves = halves_of(prepared, seed=0)
    judged = halves.judged
    upside_down = RatingTable(judged.users, judged.items, 6.0 - judged.ratings, judged.n_users, judged.n_items)
    first, second = (
        _adapt(fitted, prepared.problem, each, 1.0) for each in (halves, replace(halves, judged=upside_down))
    )
    np.testing.assert_array_equal(first, second)


def test_warm_figures_are_on_the_judged_half_and_better_where_the_taste_is_told(prepared: Prepared, run: Run) -> None:
    fitted = fit_model("tgt", prepared, run)  # knows nothing of a cold user
    cold, warm = evaluate_test(fitted, prepared), warm_metrics(fitted, prepared, seed=0)
    halves = halves_of(prepared, seed=0)
    assert (warm.users, warm.ratings) == (cold.users, len(halves.judged))
    assert warm.ratings < cold.ratings
    assert warm.rmse_clipped is not None and cold.rmse_clipped is not None
    assert warm.rmse_clipped < cold.rmse_clipped


def test_a_model_that_cannot_move_stays(prepared: Prepared) -> None:
    run = quick_run("base.kind=als", "base.dim=3")
    with_als = prepare(prepared.pair, run)
    fitted = fit_model("popular", with_als, run)
    metrics = warm_metrics(fitted, with_als, seed=0)
    assert 0.0 < metrics.ndcg <= metrics.hr
