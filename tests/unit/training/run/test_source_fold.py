"""Newcomers of rating models: the source vector of their ratings is the one that training gave to the same ratings."""

from pathlib import Path

import numpy as np
import pytest

from diffcdr.bundle.reader import open_bundle
from diffcdr.recommend.fold_in import FoldIn
from diffcdr.recommend.recommender import Query, Recommendation, Recommender
from tests.unit.training.tiny import RANGE, load, quick_config
from training.data.domains import DomainPair
from training.export.bundle import publish_bundle
from training.export.run_manifest import RunFacts
from training.run.finish import finish
from training.run.fit import fit_model
from training.run.prepare import prepare
from training.run.run import Run


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> DomainPair:
    return load(tmp_path_factory.mktemp("data"))


def publish(pair: DomainPair, name: str, path: Path, *, form: str) -> None:
    config = quick_config("base.dim=2", f"diffcdr.form={form}")
    run = Run(config=config, seed=0, rating_range=RANGE)
    prepared = prepare(pair, run)
    fitted = fit_model(name, prepared, run)
    metrics = {"validation": {name: fitted.validation}}
    facts = RunFacts(preset="robust", config=config, seed=0, rating_range=RANGE, metrics=metrics)
    publish_bundle(finish(fitted, prepared, seed=run.seed), facts, destination=path)


def histories(pair: DomainPair) -> list[tuple[tuple[str, float], ...]]:
    """Everyone's source ratings, in the order of the ids."""
    source = pair.source
    found: list[list[tuple[str, float]]] = [[] for _ in range(len(source.users))]
    for user, item, rating in zip(source.user_rows, source.item_rows, source.ratings, strict=True):
        found[user].append((source.items[int(item)], float(rating)))
    return [tuple(each) for each in found]


@pytest.mark.parametrize(("name", "form"), [("bias", "network"), ("diffcdr", "robust")])
def test_a_newcomer_with_a_known_users_ratings_gets_that_users_vector_and_list(
    pair: DomainPair, tmp_path: Path, name: str, form: str
) -> None:
    publish(pair, name, tmp_path / "bundle", form=form)
    bundle = open_bundle(tmp_path / "bundle")
    spec = bundle.manifest.fold_in
    assert spec is not None
    assert (spec.shape is not None) == (form == "robust")
    given = histories(pair)
    folded = [FoldIn(spec, bundle.source_items)(history) for history in given]
    assert all(vector is not None for vector in folded)
    np.testing.assert_allclose(
        np.stack([vector for vector in folded if vector is not None]), bundle.source_users.vectors, rtol=1e-4, atol=1e-5
    )
    recommender = Recommender(bundle)
    users = pair.source.users.take(np.arange(len(given)))
    cold = np.flatnonzero(bundle.target_users.ids.rows(users) < 0).tolist()
    for row in cold:
        known, stranger = recommender.answer([Query(users[row], explain=True), Query(None, history=given[row])])
        assert isinstance(known, Recommendation)
        assert isinstance(stranger, Recommendation)
        assert stranger.strategy == "fold_in"
        np.testing.assert_allclose(stranger.scores, known.scores, atol=1e-4)
        assert known.explanations is not None
        within = [RANGE[0] < score < RANGE[1] for score in known.scores]  # else clipping is in the rest
        rests = [why.rest for why, whole in zip(known.explanations, within, strict=True) if whole]
        np.testing.assert_allclose(rests, 0, atol=1e-4)


@pytest.mark.parametrize("name", ["mean", "popular", "tgt"])
def test_models_to_which_the_source_says_nothing_fold_nothing_in(pair: DomainPair, tmp_path: Path, name: str) -> None:
    publish(pair, name, tmp_path / "bundle", form="network")
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.manifest.fold_in is None
    (answer,) = Recommender(bundle).answer([Query(None, history=histories(pair)[0])])
    assert isinstance(answer, Recommendation)
    assert (answer.strategy, answer.fallback_reason) == ("popular", "no_usable_history")
