"""DiffCDR on target rows: planted preferences, choices by cross-validation, and no harm where nothing carries over."""

from __future__ import annotations

from dataclasses import asdict, astuple, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from diffcdr.errors import InputError
from tests.unit.training.models.closed_form.tastes import TRAINING, USERS, VALIDATION, Domains, make_domains
from tests.unit.training.models.planted import planted
from training.base_models.als import interactions
from training.models.baselines.popular import Popular, PopularConfig
from training.models.closed_form.blend import BlendDiffCDR
from training.models.closed_form.blend_config import BlendDiffCDRConfig
from training.models.closed_form.blend_folds import Learnable
from training.models.closed_form.neighbour_head import (
    NeighbourHead,
    NeighbourTable,
    RegressionTable,
    Table,
    member_weight,
)
from training.models.contract import TransferModel
from training.models.history import inverse_frequencies
from training.models.sparse_term import sparse_part
from training.problem import TransferProblem
from training.run.fit import evaluate
from training.run.warm_start import blended, warm_spec

SMALL: dict[str, Any] = {
    "history_dim": 32,
    "als_dims": (16,),
    "target_dims": (16, 32),
    "ridge_strengths": (1.0, 10.0, 100.0),
    "guidance_scales": (1.0, 2.0),
    "nfe": 9,
}


def fit(problem: TransferProblem, *, seed: int = 0, **settings: Any) -> BlendDiffCDR:
    model = BlendDiffCDR(BlendDiffCDRConfig(**{**SMALL, **settings}))
    model.fit(problem, generator=torch.Generator().manual_seed(seed))
    return model


def popular(problem: TransferProblem) -> Popular:
    model = Popular(PopularConfig())
    model.fit(problem, generator=torch.Generator())
    return model


def ndcg(model: TransferModel, domains: Domains) -> float:
    return evaluate(model, domains.test, rating_range=(1.0, 5.0), source=domains.problem.source).ndcg


def completed(problem: TransferProblem) -> TransferProblem:
    """``problem`` with the validation users' ratings among the training ratings, as they are refitted."""
    held = problem.validation
    target, theirs = problem.target, held.ratings
    users = np.concatenate([target.users, held.source_rows.numpy()[theirs.users]])
    order = np.argsort(users, kind="stable")
    everyone = torch.cat([problem.overlap_source, held.source_rows])
    return replace(
        problem,
        target=replace(
            target,
            users=users[order],
            items=np.concatenate([target.items, theirs.items])[order],
            ratings=np.concatenate([target.ratings, theirs.ratings])[order],
        ),
        overlap_source=everyone,
        overlap_target=everyone,
    )


@pytest.fixture(scope="module")
def domains() -> Domains:
    return make_domains()


@pytest.fixture(scope="module")
def model(domains: Domains) -> BlendDiffCDR:
    return fit(domains.problem)


def test_planted_preferences_are_recovered(domains: Domains, model: BlendDiffCDR) -> None:
    assert ndcg(model, domains) > 1.3 * ndcg(popular(domains.problem), domains)


def test_the_details_say_what_was_chosen_and_what_it_adds(model: BlendDiffCDR) -> None:
    details, found = model.details(), model.details()["cross_validation"]
    assert details["ridge_strength"] in details["ridge_strengths"]
    assert details["target_dim"] in details["target_dims"]
    assert details["guidance_scale"] in details["guidance_scales"]
    assert found["users"] == TRAINING + VALIDATION
    assert found["quality"] > found["popular"]


def test_a_seed_fixes_the_result_and_a_batch_of_one_is_a_batch_of_many(domains: Domains, model: BlendDiffCDR) -> None:
    torch.manual_seed(99)
    again = fit(domains.problem)
    assert torch.equal(again.fold()[0], model.fold()[0])
    assert torch.equal(again.head().item_vectors, model.head().item_vectors)
    source = model.source_vectors()
    together = model.transfer(source)
    for row in (0, 256, USERS - 1):
        assert torch.equal(model.transfer(source[row : row + 1])[0], together[row])


def test_a_refit_keeps_every_choice_and_learns_from_the_validation_users(domains: Domains, model: BlendDiffCDR) -> None:
    complete = completed(domains.problem)
    again = model.refit(complete, generator=torch.Generator())
    assert again.details() == model.details()
    assert not torch.equal(again.head().item_vectors, model.head().item_vectors)
    assert ndcg(again, domains) > ndcg(popular(complete), domains)


def test_no_choice_can_see_the_test_users_and_all_others_are_judged_once(domains: Domains) -> None:
    everyone = Learnable.everyone(domains.problem)
    assert len(np.unique(everyone.source_rows)) == TRAINING + VALIDATION
    assert not set(everyone.source_rows.tolist()) & set(domains.test.source_rows.tolist())
    left = np.array([3, 250])
    kept = everyone.without(left)
    assert kept.interactions[everyone.target_rows[left]].nnz == 0
    assert kept.interactions.nnz == everyone.interactions.nnz - everyone.interactions[everyone.target_rows[left]].nnz


def test_the_popular_list_alone_is_one_of_the_blends(domains: Domains) -> None:
    mine, theirs = fit(domains.problem, popularity_shares=(1.0,)), popular(domains.problem)
    scores = mine.transfer(mine.source_vectors()[:2]) @ mine.head().item_vectors.T
    counts = torch.from_numpy(domains.problem.target.item_sums())
    assert torch.equal(scores[0], scores[1])
    assert (torch.diff(scores[0][torch.argsort(counts, stable=True)]) >= 0).all()
    assert ndcg(mine, domains) == ndcg(theirs, domains)


@pytest.mark.parametrize(
    "planted_pair", [{"linked": False}, {"training": 45, "validation": 15}], ids=["nothing in common", "few users"]
)
def test_never_below_the_popular_list(planted_pair: dict[str, Any]) -> None:
    gains = []
    for seed in range(6):
        made = make_domains(seed, **planted_pair)
        model = fit(made.problem, seed=seed, target_dims=(16,))
        gains.append(ndcg(model, made) - ndcg(popular(made.problem), made))
    assert np.mean(gains) >= -np.std(gains, ddof=1) / np.sqrt(len(gains))


@pytest.mark.parametrize("table", [NeighbourTable(0.5, 0.0, 10), RegressionTable(1.0, 3.0, 10)])
def test_the_neighbour_head_is_the_sparse_term(domains: Domains, table: Table) -> None:
    tables: dict[str, Any] = {"neighbour_tables": (), "regression_tables": ()}
    kind = "neighbour_tables" if isinstance(table, NeighbourTable) else "regression_tables"
    fixed: dict[str, Any] = {**tables, kind: (astuple(table),), "popularity_shares": (0.25,)}
    alone, blended_with = (
        fit(domains.problem, **fixed, neighbour_shares=(0.0,)),
        fit(domains.problem, **fixed, neighbour_shares=(0.5,)),
    )
    term, details = blended_with.sparse_term(), blended_with.details()
    assert alone.sparse_term() is None
    assert term is not None
    assert details["neighbour_table"] == asdict(table)
    problem = domains.problem
    items, weights = interactions(problem.source), term.item_weights
    head = NeighbourHead(items[:TRAINING], interactions(problem.target)[:TRAINING], weights)
    expected = 0.75 * details["neighbour_weight"] * head.scores(table, items[300:310])
    mine = sparse_part(term, problem.source, torch.arange(300, 310))
    assert mine is not None
    np.testing.assert_allclose(mine.sums(), expected, rtol=1e-5, atol=1e-9)


@given(scale=st.floats(1e-3, 1e3), share=st.sampled_from([0.1, 1.0]))
def test_a_members_weight_knows_no_scale(scale: float, share: float) -> None:
    random = np.random.default_rng(0)
    beside = [random.normal(size=(5, 30)).astype(np.float32) for _ in range(2)]
    member = [random.random((5, 30)).astype(np.float32) for _ in range(2)]
    scaled = [each * np.float32(scale) for each in member]
    first = member_weight(share, beside=beside, member=member) * member[0]
    second = member_weight(share, beside=beside, member=scaled) * scaled[0]
    np.testing.assert_allclose(first, second, rtol=1e-4)


def test_a_table_of_co_occurrences_has_no_scale_of_its_own(domains: Domains) -> None:
    items, target = interactions(domains.problem.source), interactions(domains.problem.target)
    idf = inverse_frequencies(items, power=1.0)
    wanted = NeighbourTable(0.5, 0.25, 10)
    once = NeighbourHead(items[:TRAINING], target[:TRAINING], idf)
    twice = NeighbourHead(
        sparse.csr_array(sparse.vstack([items[:TRAINING]] * 2)),
        sparse.csr_array(sparse.vstack([target[:TRAINING]] * 2)),
        idf,
    )
    # Counts are twice as large; equals at the border of the nearest may round apart.
    assert twice.table(wanted).sum() == pytest.approx(once.table(wanted).sum(), rel=0.01)


def test_first_target_ratings_move_the_list_towards_what_is_rated(domains: Domains, model: BlendDiffCDR) -> None:
    spec = warm_spec(model, domains.problem, strength=1.0)
    assert spec is not None
    assert spec.kind == "als"
    rows = domains.test.source_rows
    start = model.transfer(model.source_vectors()[rows]).double().numpy()
    moved = blended(model.head(), spec, start, domains.test.ratings)
    items = model.head().item_vectors.double().numpy()
    users, rated = domains.test.ratings.users, domains.test.ratings.items
    rise = ((moved - start)[users] * items[rated]).sum(axis=1)
    assert rise.mean() > 0
    assert np.mean(rise > 0) > 0.95


def test_base_models_of_ratings_are_refused() -> None:
    with pytest.raises(InputError, match=r"set base\.kind=als"):
        fit(planted().problem)
