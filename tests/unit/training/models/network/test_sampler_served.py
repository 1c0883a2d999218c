"""A sampler that draws, in a bundle: each user's noise lies beside their vector, and new users have none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from diffcdr.bundle.reader import open_bundle
from diffcdr.recommend.recommender import Query, Recommendation, Recommender
from tests.unit.training.tiny import QUICK, write_domains
from training import fit
from training.train import Trained

NFE, DIM = 3, 4
SETTINGS = [*QUICK, "diffcdr.sampler=ddpm", f"diffcdr.nfe={NFE}"]


@pytest.fixture(scope="module", params=["none", "silu"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("drawing")
    source, target = write_domains(folder)
    settings = [*SETTINGS, f"diffcdr.activation={request.param}"]
    return fit(source, target, preset="reference", models="diffcdr", settings=settings)


def test_known_users_are_served_what_was_measured_and_new_ones_the_popular_list(
    trained: Trained, tmp_path: Path
) -> None:
    trained.publish(tmp_path / "bundle", held_out="cold")
    bundle = open_bundle(tmp_path / "bundle")
    model, test = trained.fitted["diffcdr"].model, trained.prepared.test
    vectors = model.source_vectors()
    assert vectors.shape[1] == DIM + (NFE - 1) * DIM
    ids = bundle.source_users.ids.take(test.source_rows.numpy())
    scores = model.head().item_vectors.double() @ model.transfer(vectors[test.source_rows]).double().T
    recommender = Recommender(bundle)
    alone = [recommender.answer([Query(user, k=5)])[0] for user in ids]
    together = recommender.answer([Query(user, k=5) for user in reversed(ids)])[::-1]
    for one, many, expected in zip(alone, together, scores.T, strict=True):
        assert isinstance(one, Recommendation)
        assert isinstance(many, Recommendation)
        assert one.strategy == "transfer"
        assert one.item_ids == many.item_ids
        assert np.array_equal(one.scores, many.scores)
        assert bundle.target_items.ids.rows(one.item_ids).tolist() == expected.argsort(descending=True)[:5].tolist()
    (new,) = recommender.answer([Query(None, k=5, history=(("films-00", 5.0),))])
    assert isinstance(new, Recommendation)
    assert new.strategy == "popular"


def test_the_noise_is_of_the_id_whoever_else_is_there(trained: Trained, tmp_path: Path) -> None:
    source, target = write_domains(tmp_path)
    gone = pl.Series(["u003", "u061"])
    less = fit(
        source,
        target,
        preset="reference",
        models="diffcdr",
        settings=SETTINGS,
        exclude_users=gone,
    )
    draws, of_less = (each.fitted["diffcdr"].model.source_vectors()[:, DIM:] for each in (trained, less))
    rows = trained.prepared.pair.source.users.rows_of(less.prepared.pair.source.users.array)
    assert len(rows) == len(draws) - 2
    assert torch.equal(draws[torch.from_numpy(rows)], of_less)
