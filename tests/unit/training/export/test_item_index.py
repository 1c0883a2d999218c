"""Training publishes an item index where there are more items than it was told, and measures it."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffcdr.bundle.reader import open_bundle
from diffcdr.errors import InputError
from diffcdr.recommend.recommender import Recommender
from diffcdr.search.build_index import IndexOptions
from tests.unit.training.tiny import RANGE, load, quick_run
from training.export.bundle import publish_bundle
from training.export.run_manifest import RunFacts
from training.run.finish import finish
from training.run.fit import fit_model
from training.run.prepare import prepare


def test_above_the_size_and_not_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.export.user_map.FEWEST_POINTS", 10_000)  # a map without t-SNE, which takes seconds
    run = quick_run()
    prepared = prepare(load(tmp_path / "data"), run)
    fitted = fit_model("diffcdr", prepared, run)
    items = len(prepared.pair.target.items)
    path = tmp_path / "bundle"

    def publish(options: IndexOptions) -> None:
        facts = RunFacts("reference", run.config, run.seed, RANGE, metrics={}, index=options)
        publish_bundle(finish(fitted, prepared, seed=run.seed), facts, destination=path)

    publish(IndexOptions(above=items, floor=1.0))
    assert open_bundle(path).manifest.search is None
    publish(IndexOptions(above=items - 1, floor=0.5))
    bundle = open_bundle(path)
    spec = bundle.manifest.search
    assert spec is not None and spec.recall >= 0.5
    assert spec.users == len(bundle.source_users.ids)
    assert Recommender(bundle).popular(3).item_ids
    monkeypatch.setattr("diffcdr.search.build_index.recall_of", lambda found, best: 0.4)
    with pytest.raises(InputError, match=r"finds 0\.400 of the exact best 20 at most, below the floor of 0\.5"):
        publish(IndexOptions(above=items - 1, floor=0.5))
    assert open_bundle(path).id == bundle.id
