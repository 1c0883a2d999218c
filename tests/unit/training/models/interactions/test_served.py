"""Models of histories in a bundle: the lists that were measured, and the same from a history."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from diffcdr.bundle.reader import open_bundle
from diffcdr.recommend.recommender import Query, Recommendation, Recommender
from diffcdr.search.topk import TopK
from tests.unit.training.tiny import write_domains
from training import fit
from training.models.sparse_term import sparse_part
from training.train import Trained

K = 10
MODELS = ("itemknn", "dual_ridge", "ease", "joint_als", "userknn", "gfcf", "slim")
SETTINGS = ("base.dim=4", "diffcdr.form=gaussian", "diffcdr.nfe=2", "joint_als.dims=[4]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served")
    write_domains(path)
    return path


@pytest.fixture(scope="module")
def trained(folder: Path) -> Trained:
    source, target = folder / "films.csv", folder / "books.csv"
    return fit(source, target, models="all", select="ndcg@20", settings=SETTINGS)


@pytest.mark.parametrize("name", MODELS)
def test_a_bundle_serves_the_lists_that_were_measured(name: str, trained: Trained, folder: Path) -> None:
    replace(trained, published=name).publish(folder / name, held_out="cold")
    bundle = open_bundle(folder / name)
    model, test = trained.fitted[name].model, trained.prepared.test
    ids = bundle.source_users.ids.take(test.source_rows.numpy())
    vectors = model.transfer(model.source_vectors()[test.source_rows]).numpy()
    head = model.head()
    part = sparse_part(model.sparse_term(), trained.prepared.problem.source, test.source_rows)
    lists, _ = TopK(head.item_vectors.numpy(), head.item_biases.numpy()).search(vectors, K, sparse=part)
    films = pl.read_csv(folder / "films.csv")
    recommender = Recommender(bundle)
    for user, expected in zip(ids, lists, strict=True):
        own = films.filter(pl.col("user_id") == user)
        history = tuple(zip(own["item_id"].to_list(), own["rating"].to_list(), strict=True))
        known, stranger = recommender.answer([Query(user, k=K), Query(None, k=K, history=history)])
        assert isinstance(known, Recommendation)
        assert isinstance(stranger, Recommendation)
        assert (known.strategy, stranger.strategy) == ("transfer", "fold_in")
        assert np.array_equal(bundle.target_items.ids.rows(known.item_ids), expected)
        # User-kNN has another, linear form for histories: see its module.
        assert name == "userknn" or len(set(known.item_ids) & set(stranger.item_ids)) >= K - 1
    warm, unknown = recommender.answer(
        [
            Query(ids[0], k=K, target_history=(("books-03", 5.0), ("books-07", 4.0))),
            Query(None, k=K, history=(("no-such-film", 5.0),)),
        ]
    )
    assert isinstance(warm, Recommendation)
    assert isinstance(unknown, Recommendation)
    assert warm.strategy == ("transfer" if name in ("itemknn", "slim") else "warm")  # it has no vector to move
    assert (unknown.strategy, unknown.fallback_reason) == ("popular", "no_usable_history")


def test_all_trains_them_and_the_manifest_has_their_figures(trained: Trained, folder: Path) -> None:
    assert set(MODELS) <= trained.test.keys()
    trained.publish(folder / "chosen")
    manifest = open_bundle(folder / "chosen").manifest
    assert set(MODELS) <= manifest.metrics["validation"].keys()
    assert manifest.model == trained.published
