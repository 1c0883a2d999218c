"""The reference implementations give the same answers as ours, and every bench measures at a small size."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from bench import machine
from bench.drawn_bundle import write_drawn_bundle
from bench.harness import timed
from bench.search import score, sparse, topk
from bench.serving import events, start
from bench.training import base, experiment, prepare, train, transfer
from diffcdr.bundle.reader import open_bundle
from diffcdr.errors import MissingExtraError
from diffcdr.progress import Reporter
from diffcdr.recommend.list_table import ScoreOptions
from diffcdr.recommend.recommender import Recommender
from diffcdr.score import all_users, score_users
from tests.unit.training.rating_tables import rating_table
from training.base_models.config import MFConfig
from training.base_models.mf import MatrixFactorization
from training.data.synth import SynthSpec, generate
from training.data.synth_files import Format, write
from training.models.diffusion.sampler import Sampler
from training.models.network.affine_updates import AffineUpdates
from training.models.network.config import DiffCDRConfig
from training.models.network.network import DiffCDRNetwork, solver_plan


@pytest.mark.parametrize("scale", [0.0, 0.1, 1.0, 2.5])
def test_the_solver_written_out_gives_what_the_sampler_gives(scale: float) -> None:
    config = DiffCDRConfig(nfe=7, guidance_scale=scale)
    generator = torch.Generator().manual_seed(3)
    network = DiffCDRNetwork(config, source_dim=5, target_dim=5, generator=generator).double().requires_grad_(False)
    source = torch.randn(9, 5, generator=generator, dtype=torch.float64)
    sampler = Sampler(
        network.noise_predictor,
        solver_plan(config),
        guidance_scale=scale,
        initial_state=None,
        alignment=network.alignment,
    )
    plain = transfer.plain_transfer(network, solver_plan(config), source, guidance_scale=scale)
    torch.testing.assert_close(plain, sampler(source), rtol=1e-9, atol=1e-9)


def test_training_with_the_solver_written_out_takes_the_same_steps() -> None:
    config = DiffCDRConfig.model_validate({"activation": "none", "rows": "ratings", "batch_size": 16, "nfe": 6})
    problem = train.drawn_problem(config, batches=3)
    losses = []
    for kind in (AffineUpdates, train.PlainUpdates):
        generator = torch.Generator().manual_seed(0)
        network = DiffCDRNetwork(config, source_dim=train.DIM, target_dim=train.DIM, generator=generator)
        updates = kind(network, config, problem=problem)
        assert updates.rows == 3 * 16
        losses.append(updates.epoch(generator))
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_transfer_measures() -> None:
    row = transfer.affine(users=8, nfe=2, floor=None)
    assert row.ratio == pytest.approx(row.ours / row.baseline)
    assert row.case == "affine, k = 10, NFE 2, 8 users"


@pytest.mark.parametrize("masked", [0, 100])
def test_topk_agrees_with_faiss(masked: int) -> None:
    row = topk.compare(items=700, dim=4, users=3, masked=masked, floor=0.0)
    assert row.holds
    assert row.unit == "users/s"


@pytest.mark.parametrize("compiled", [True, False])
def test_the_sparse_term_is_measured_against_the_search_without_it(compiled: bool) -> None:
    row = sparse.compare(items=700, dim=4, users=3, compiled=compiled, floor=0.0)
    assert row.holds
    assert row.ratio == pytest.approx(row.ours / row.baseline)


def test_the_limits_of_the_machine_are_above_what_is_measured() -> None:
    """Of work that is a product and nothing else."""
    left, right = torch.ones(512, 128), torch.ones(128, 128)
    assert 0.2 * machine.sgemm_rate(512, 128, 128) < 2.0 * 512 * 128 * 128 / timed(lambda: left @ right)
    assert machine.copy_rate(1 << 20) > 1e8


def test_the_experiment_is_held_to_its_limit() -> None:
    spec = SynthSpec(users=80, items=40, ratings_per_user=8, overlap=0.9)
    row = experiment.limited(spec, models="mean,bias")
    assert row.case.startswith("2 models, one split of ")
    assert row.holds
    assert row.ours * row.ratio == pytest.approx(experiment.LIMIT_S)


@pytest.mark.parametrize("kind", ["ratings", "impressions of an experiment"])
def test_events_are_measured_with_their_size(kind: str) -> None:
    row = events.taken(kind, batches=1, users=100)
    assert row.case.startswith(f"{kind} of 100 users, ") and row.case.endswith(" bytes each")
    assert row.ratio == row.ours / events.LEAST > 0


def test_topk_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'diffcdr\[ann\]'"):
        topk.compare(items=10, dim=2, users=1, masked=0, floor=None)


def test_a_drawn_bundle_opens_and_the_plain_way_reads_the_same(tmp_path: Path) -> None:
    write_drawn_bundle(tmp_path / "bundle", users=300, items=50, seen=4)
    bundle = open_bundle(tmp_path / "bundle")
    rows, tables = start.read_whole(tmp_path / "bundle")
    assert rows == {bundle.source_users.ids[row]: row for row in range(300)}
    assert any(np.array_equal(bundle.source_users.vectors, table) for table in tables)
    assert len(bundle.target_users.seen(299)) == 4


def test_start_measures_opening_and_hashing() -> None:
    opened, hashed = start.compare(users=2_000, opening_floor=None, hashing_floor=None)
    assert (opened.unit, hashed.unit) == ("opens/s", "GB/s")


def test_factorisation_written_out_takes_the_same_steps() -> None:
    """Every row is in the batch, so that lazy and dense Adam agree."""
    users, items = torch.arange(6), torch.arange(6).flip(0)
    ratings = torch.tensor([1.0, 5.0, 3.0, 4.0, 2.0, 2.0])
    table = rating_table(users, items, ratings, 6, 6)
    config = MFConfig(dim=3)
    ours = MatrixFactorization(table, config, generator=torch.Generator().manual_seed(0))
    plain = base.PlainFactorization(table, config, generator=torch.Generator().manual_seed(0))
    for _ in range(5):
        expected = float(plain.descend(users, items, ratings))
        assert float(ours.descend(users, items, ratings)) == pytest.approx(expected, rel=1e-4)


def test_scoring_the_plain_way_gives_the_same_lists(tmp_path: Path) -> None:
    write_drawn_bundle(tmp_path / "bundle", users=30, items=200)
    bundle = open_bundle(tmp_path / "bundle")
    recommender = Recommender(bundle, device="cpu")
    users = all_users(recommender)
    score_users(recommender, users, tmp_path / "ours.parquet", options=ScoreOptions(), reporter=Reporter())
    score.plain_score(
        bundle, {user: row for row, user in enumerate(users)}, users.to_list(), tmp_path / "plain.parquet"
    )
    ours, plain = (pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("ours", "plain"))
    for column in ("user_id", "rank", "item_id"):
        assert ours[column].to_list() == plain[column].to_list()
    np.testing.assert_allclose(ours["score"], plain["score"], atol=1e-4)


def test_preparing_the_plain_way_gives_the_same_histories(tmp_path: Path) -> None:
    data = generate(SynthSpec(users=60, items=40, ratings_per_user=5))
    write(data, tmp_path, file_format=Format.amazon_json)
    films, books = (tmp_path / f"{name}.json.gz" for name in ("films", "books"))
    pair, held = prepare.prepare(films, books)
    source, target, held_out = prepare.plain_prepare(films, books)
    for user, row in zip(pair.source.users.take(np.arange(len(source))), range(len(source)), strict=True):
        of_user = pair.source.user_rows == row
        rated = zip(
            pair.source.items.take(pair.source.item_rows[of_user]), pair.source.ratings[of_user].tolist(), strict=True
        )
        assert source[user] == list(rated)
    assert len(held.train) == sum(map(len, target.values()))
    assert len(held.test) == sum(map(len, held_out["test"].values()))
    assert len(held.validation) == sum(map(len, held_out["validation"].values()))


def test_the_large_benches_measure() -> None:
    for row in (
        base.compare(users=50, items=40, batch=8, floor=None),
        prepare.compare(users=40, floor=None),
        score.compare(users=30, items=100, floor=None),
    ):
        assert row.ours > 0.0
        assert row.ratio == pytest.approx(row.ours / row.baseline)


def test_a_whole_epoch_is_held_to_time_and_memory() -> None:
    seconds, memory = base.limited(ratings=2_000, users=50, items=40)
    assert 0.0 < seconds.ours < 30.0
    assert 0.01 < memory.ours < base.LIMIT_GB
    assert all(row.holds and row.ratio == row.baseline / row.ours for row in (seconds, memory))
