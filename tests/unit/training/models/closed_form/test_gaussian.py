"""DiffCDR in closed form on planted preferences: tastes that carry over, and items that are liked for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from diffcdr.bundle.ids import IdTable
from diffcdr.bundle.reader import SourceItems
from diffcdr.recommend.fold_in import FoldIn
from tests.unit.training.models.closed_form.tastes import ITEMS, USERS, Domains, make_domains, table
from training.evaluation.evaluate import Metrics
from training.models.baselines.popular import Popular, PopularConfig
from training.models.closed_form.config import GaussianDiffCDRConfig
from training.models.closed_form.gaussian import GaussianDiffCDR
from training.problem import HeldOut, TransferProblem
from training.run.fit import evaluate
from training.run.source_fold import source_fold

CONFIG: dict[str, Any] = {"history_dim": 32}


@pytest.fixture(scope="module")
def domains() -> Domains:
    return make_domains()


def fit(problem: TransferProblem, *, seed: int = 0, **settings: Any) -> GaussianDiffCDR:
    model = GaussianDiffCDR(GaussianDiffCDRConfig(**{**CONFIG, **settings}))
    model.fit(problem, generator=torch.Generator().manual_seed(seed))
    return model


def measured(model: Any, domains: Domains) -> Metrics:
    return evaluate(model, domains.test, rating_range=(1.0, 5.0))


@pytest.fixture(scope="module")
def model(domains: Domains) -> GaussianDiffCDR:
    return fit(domains.problem)


def test_planted_preferences_are_recovered(domains: Domains, model: GaussianDiffCDR) -> None:
    popular = Popular(PopularConfig())
    popular.fit(domains.problem, generator=torch.Generator())
    ridge = fit(domains.problem, guidance_scales=(1.0,), task_weights=())
    mine, list_of_all = measured(model, domains).ndcg, measured(popular, domains).ndcg
    assert mine > 1.3 * list_of_all
    assert mine > measured(ridge, domains).ndcg - 0.01


def test_ranking_scores_have_no_rating_errors(domains: Domains, model: GaussianDiffCDR) -> None:
    assert measured(model, domains).as_dict().keys() == {"ndcg@20", "hr@20", "recall@20"}


def test_guidance_one_without_alm_is_the_ridge_regression(domains: Domains) -> None:
    problem = domains.problem
    plain = fit(problem, ridge_strengths=(3.0,), guidance_scales=(1.0,), task_weights=())
    inputs = plain.source_vectors()[problem.overlap_source].double().numpy()
    targets = problem.target_base.user_vectors[problem.overlap_target].double().numpy()
    centred = inputs - inputs.mean(axis=0)
    oracle = Ridge(alpha=3.0 * np.trace(centred.T @ centred) / inputs.shape[1]).fit(inputs, targets)
    everyone = plain.source_vectors().double()
    expected = oracle.predict(everyone.numpy())
    np.testing.assert_allclose(plain.transfer(everyone).numpy(), expected, atol=1e-4 * np.abs(expected).max())


def test_an_endless_identity_prior_is_no_alm(domains: Domains) -> None:
    fixed: dict[str, Any] = {"ridge_strengths": (3.0,), "guidance_scales": (1.5,)}
    with_alm = fit(domains.problem, **fixed, task_weights=(0.0, 0.3), identity_prior=1e12)
    without = fit(domains.problem, **fixed, task_weights=())
    torch.testing.assert_close(with_alm.fold()[0], without.fold()[0], rtol=1e-6, atol=1e-9)


def test_a_batch_of_one_is_a_batch_of_many(model: GaussianDiffCDR) -> None:
    source = model.source_vectors()
    together = model.transfer(source)
    for row in (0, 255, 256, USERS - 1):
        assert torch.equal(model.transfer(source[row : row + 1])[0], together[row])


def test_a_seed_fixes_the_result(domains: Domains, model: GaussianDiffCDR) -> None:
    torch.manual_seed(99)
    again = fit(domains.problem)
    assert torch.equal(again.source_vectors(), model.source_vectors())
    assert torch.equal(again.fold()[0], model.fold()[0])
    assert again.details() == model.details()


def test_choices_are_made_on_validation_users(domains: Domains, model: GaussianDiffCDR) -> None:
    details = model.details()
    assert details["ridge_strength"] in details["ridge_strengths"]
    assert details["guidance_scale"] in details["guidance_scales"]
    only = fit(domains.problem, guidance_scales=(2.0,), task_weights=())
    assert (only.details()["guidance_scale"], only.details()["alignment"]) == (2.0, "none")


def test_without_validation_ratings_the_cautious_choice(domains: Domains) -> None:
    none = HeldOut(torch.empty(0, dtype=torch.int64), table(np.zeros((0, ITEMS), dtype=bool)))
    problem = TransferProblem(**{**vars(domains.problem), "validation": none})
    details = fit(problem).details()
    assert (details["ridge_strength"], details["guidance_scale"], details["alignment"]) == (100.0, 1.0, "none")


def test_a_history_folds_in_to_the_trained_condition(domains: Domains, model: GaussianDiffCDR) -> None:
    problem, history = domains.problem, model.source_history()
    fold = source_fold(model, problem)
    assert history is not None
    assert fold is not None
    items = SourceItems(
        ids=IdTable.build([f"s{row:03}" for row in range(ITEMS)]),
        vectors=problem.source_base.item_vectors.numpy(),
        biases=np.zeros(ITEMS, dtype=np.float32),
        titles=None,
        idf=history.idf,
        basis=history.basis,
    )
    fold_in = FoldIn(fold.spec, items)
    for user in (0, 100, USERS - 1):
        own = problem.source.items[problem.source.users == user].tolist()
        vector = fold_in([(f"s{item:03}", 4.0) for item in own])
        assert vector is not None
        np.testing.assert_allclose(vector, model.source_vectors()[user].numpy(), atol=2e-5)
