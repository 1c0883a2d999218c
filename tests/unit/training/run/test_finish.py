"""What a bundle knows of the users whose target ratings were held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diffcdr.bundle.reader import Bundle, open_bundle
from diffcdr.recommend.recommender import Query, Recommendation, Recommender
from tests.unit.training.tiny import RANGE, load, quick_run
from training.export.bundle import publish_bundle
from training.export.run_manifest import RunFacts
from training.run.finish import HeldOutUsers, finish
from training.run.fit import FittedModel, evaluate_test, fit_model
from training.run.prepare import Prepared, prepare
from training.run.run import Run

RUNS = {
    "ratings": quick_run(),
    "lists": quick_run("base.kind=als", "diffcdr.form=gaussian", "diffcdr.history_dim=4", "base.refit=true"),
}


@pytest.fixture(scope="module", params=RUNS)
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, Prepared, FittedModel]:
    run = RUNS[request.param]
    prepared = prepare(load(tmp_path_factory.mktemp("data")), run)
    return run, prepared, fit_model("diffcdr", prepared, run)


def published(trained: tuple[Run, Prepared, FittedModel], path: Path, held_out: HeldOutUsers) -> Bundle:
    run, prepared, fitted = trained
    metrics = {"test": {"diffcdr": evaluate_test(fitted, prepared)}}
    facts = RunFacts(preset="ranking", config=run.config, seed=run.seed, rating_range=RANGE, metrics=metrics)
    publish_bundle(finish(fitted, prepared, seed=run.seed, held_out=held_out), facts, destination=path)
    return open_bundle(path)


def test_held_out_users_are_served_as_others_once_all_is_measured(
    trained: tuple[Run, Prepared, FittedModel], tmp_path: Path
) -> None:
    known, cold = (published(trained, tmp_path / how, how) for how in ("known", "cold"))
    pair, split = trained[1].pair, trained[1].split
    assert known.manifest.provenance.held_out == "known" and cold.manifest.provenance.held_out == "cold"
    assert known.manifest.metrics == cold.manifest.metrics

    # Nothing that is fitted or drawn differs, nor does anything about the other users.
    changed = {
        name for name, digest in cold.manifest.files.items() if known.manifest.files[name].sha256 != digest.sha256
    }
    assert {name.split("/")[0] for name in changed} == {"target_users"}
    others = cold.target_users.ids.take(np.arange(len(cold.target_users.ids)))
    np.testing.assert_array_equal(
        known.target_users.vectors[known.target_users.ids.rows(others)], cold.target_users.vectors
    )

    rated = pair.target.items.array[pair.target.item_rows]
    everybody = pair.target.users.take(np.unique(pair.target.user_rows))
    assert known.target_users.ids.take(np.arange(len(known.target_users.ids))) == everybody
    held = [pair.overlap_ids()[position] for position in split.test.tolist()]
    assert (cold.target_users.ids.rows(held) == -1).all()
    as_measured, as_others = (
        Recommender(bundle).answer([Query(user, k=10) for user in held]) for bundle in (cold, known)
    )
    for user, before, after in zip(held, as_measured, as_others, strict=True):
        assert isinstance(before, Recommendation) and isinstance(after, Recommendation)
        assert (before.strategy, after.strategy) == ("transfer", "warm")
        mine = rated[pair.target.user_rows == pair.target.users.row(user)]
        assert not {item.decode() for item in mine.tolist()} & set(after.item_ids)
