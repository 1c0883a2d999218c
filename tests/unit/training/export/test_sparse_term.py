"""A model with a sparse term is served with the lists that it was evaluated with, to newcomers too."""

from pathlib import Path

import numpy as np
import torch

from diffcdr.bundle.reader import open_bundle
from diffcdr.recommend.query import Query, Recommendation
from diffcdr.recommend.recommender import Recommender
from diffcdr.search.topk import TopK
from tests.unit.training.tiny import RANGE, load
from training.config import load_preset
from training.export.bundle import publish_bundle
from training.export.run_manifest import RunFacts
from training.models.sparse_term import sparse_part
from training.run.finish import finish
from training.run.fit import fit_model
from training.run.prepare import prepare
from training.run.run import Run

K = 10


def test_served_lists_are_those_that_were_evaluated(tmp_path: Path) -> None:
    pair = load(tmp_path)
    settings = ["base.dim=[4]", "diffcdr.als_dims=[4]", "diffcdr.target_dims=[4]", "diffcdr.history_dim=8"]
    settings += ["diffcdr.neighbour_shares=[1.0]", "diffcdr.popularity_shares=[0.0]"]
    config = load_preset("ranking", settings)
    run = Run(config=config, seed=0, rating_range=RANGE)
    prepared = prepare(pair, run)
    fitted = fit_model("diffcdr", prepared, run)
    finished = finish(fitted, prepared, seed=run.seed)
    facts = RunFacts(
        preset="ranking",
        config=config,
        seed=0,
        rating_range=RANGE,
        metrics={"validation": {"diffcdr": fitted.validation}},
    )
    publish_bundle(finished, facts, destination=tmp_path / "bundle")

    bundle = open_bundle(tmp_path / "bundle")
    recommender = Recommender(bundle)
    users = bundle.source_users.ids
    cold = np.flatnonzero(bundle.target_users.ids.rows(list(users)) < 0)
    assert len(cold) > 3
    model, source = finished.model, finished.problem.source
    term = model.sparse_term()
    assert term is not None and bundle.manifest.sparse is not None
    rows = torch.from_numpy(cold)
    head = model.head()
    search = TopK(head.item_vectors.numpy(), head.item_biases.numpy(), offset=head.offset)
    vectors = model.transfer(model.source_vectors()[rows]).numpy().astype(np.float32)
    expected, scores = search.search(vectors, K, sparse=sparse_part(term, source, rows))
    dense, _ = search.search(vectors, K)
    assert (expected != dense).any()
    found = recommender.top_rows([users[row] for row in cold.tolist()], K)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-4, atol=1e-6)
    assert (found.items == expected).mean() > 0.99  # the folded map rounds otherwise: near ties may swap
    ids = pair.source.items
    for row in cold[:3].tolist():
        history = tuple((ids[int(item)], 4.0) for item in source.items[source.users == row])
        known, stranger = recommender.answer([Query(users[row], k=K), Query(None, history=history, k=K)])
        assert isinstance(known, Recommendation) and isinstance(stranger, Recommendation)
        assert stranger.strategy == "fold_in"
        np.testing.assert_allclose(stranger.scores, known.scores, rtol=1e-3, atol=1e-5)
