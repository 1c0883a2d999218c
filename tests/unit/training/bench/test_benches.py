"""The plain ways give the same answers as ours, and every bench measures at a small size."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from diffcdr.bundle import open_bundle
from diffcdr.errors import MissingExtraError
from training.bench import start, topk, train, transfer
from training.bench.drawn import write_drawn_bundle
from training.models.alternating import AlternatingUpdates
from training.models.configs import DiffCDRConfig
from training.models.network import DiffCDRNetwork, solver_plan
from training.models.sampler import Sampler


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


@pytest.mark.parametrize("rows", ["users", "ratings"])
def test_training_with_the_solver_written_out_takes_the_same_steps(rows: str) -> None:
    config = DiffCDRConfig.model_validate({"activation": "none", "rows": rows, "batch_size": 16, "nfe": 6})
    problem = train.drawn_problem(config, batches=3)
    losses = []
    for kind in (AlternatingUpdates, train.PlainUpdates):
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


def test_topk_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'diffcdr\[dev\]'"):
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
