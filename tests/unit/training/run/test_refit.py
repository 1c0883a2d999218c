"""Base models of interactions: k by the validation users, and one more fit with them once all is chosen."""

from pathlib import Path

import numpy as np
import pytest
import torch

from diffcdr.bundle.reader import open_bundle
from tests.unit.training.tiny import RANGE, load, quick_run
from training.data.domains import DomainPair
from training.export.bundle import publish_bundle
from training.export.run_manifest import RunFacts
from training.models.baselines.ridge import ridge_quality
from training.models.table_model import TabularModel
from training.run.finish import finish
from training.run.fit import evaluate_test, fit_model
from training.run.prepare import PROBES, prepare
from training.run.run import Run

ALS = ("base.kind=als", "diffcdr.form=gaussian", "diffcdr.history_dim=4")
MODELS = ("bias", "popular", "ridge", "diffcdr")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> DomainPair:
    return load(tmp_path_factory.mktemp("data"))


def als_run(*overrides: str) -> Run:
    return quick_run(*ALS, *overrides)


def test_k_is_the_best_of_its_list_on_validation_users(pair: DomainPair) -> None:
    prepared = prepare(pair, als_run("base.dim=[2, 5, 3]"))
    alone = {dim: prepare(pair, als_run(f"base.dim={dim}")).problem for dim in (2, 5, 3)}
    best = max(alone, key=lambda dim: ridge_quality(alone[dim], PROBES))
    assert torch.equal(prepared.problem.target_base.user_vectors, alone[best].target_base.user_vectors)
    assert torch.equal(prepared.problem.source_base.user_vectors, alone[best].source_base.user_vectors)


@pytest.mark.parametrize("name", MODELS)
def test_a_refit_changes_no_choice_and_learns_from_the_validation_users(pair: DomainPair, name: str) -> None:
    run = als_run("base.dim=3", "base.refit=true")
    prepared = prepare(pair, run)
    fitted = fit_model(name, prepared, run)
    assert fitted.model.details() == fitted.judged.details()
    assert not torch.equal(
        fitted.model.head().item_vectors if name in ("ridge", "diffcdr") else fitted.model.head().item_biases,
        fitted.judged.head().item_vectors if name in ("ridge", "diffcdr") else fitted.judged.head().item_biases,
    )
    # The validation figures are those of the model that had not seen them.
    plain = als_run("base.dim=3")
    assert fitted.validation.ndcg == fit_model(name, prepare(pair, plain), plain).validation.ndcg
    assert evaluate_test(fitted, prepared).ndcg > 0


@pytest.mark.parametrize("name", MODELS)
def test_a_refit_to_the_same_problem_is_the_same_model(pair: DomainPair, name: str) -> None:
    run = als_run("base.dim=3")
    prepared = prepare(pair, run)
    judged = fit_model(name, prepared, run).model
    assert isinstance(judged, TabularModel)
    again = judged.refit(prepared.problem, generator=run.generator(name))
    first, second = judged.fold(), again.fold()
    torch.testing.assert_close(second, first, rtol=1e-9, atol=1e-12)
    assert torch.equal(again.head().item_vectors, judged.head().item_vectors)


def test_test_users_stay_out_of_the_refit_and_validation_users_are_warm_after_it(
    pair: DomainPair, tmp_path: Path
) -> None:
    run = als_run("base.dim=3", "base.refit=true")
    prepared = prepare(pair, run)
    assert prepared.complete is not None
    learnt = set(prepared.complete.target.users.tolist())
    assert not learnt & set(pair.overlap_target[prepared.split.test].tolist())
    assert set(pair.overlap_target[prepared.split.validation].tolist()) <= learnt
    fitted = fit_model("diffcdr", prepared, run)
    metrics = {"validation": {"diffcdr": fitted.validation}}
    publish_bundle(
        finish(fitted, prepared, seed=run.seed, held_out="cold"),
        RunFacts(preset="ranking", config=run.config, seed=run.seed, rating_range=RANGE, metrics=metrics),
        destination=tmp_path / "bundle",
    )
    bundle = open_bundle(tmp_path / "bundle")
    ids = np.array(pair.overlap_ids())
    assert (bundle.target_users.ids.rows(ids[prepared.split.validation].tolist()) >= 0).all()
    assert (bundle.target_users.ids.rows(ids[prepared.split.test].tolist()) == -1).all()
