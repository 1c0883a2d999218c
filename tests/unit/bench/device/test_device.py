"""What runs on a device, run on the processor: the same code against the product's own answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import bench.device.topk
from bench.device.device import WARM_UP, Replayed, find_device
from bench.device.drawn import silu_graph
from bench.device.rows import DEVICE_BENCHES, activated
from bench.device.serving import _file, _searches, _transfers
from bench.device.topk import DeviceTopK
from bench.device.train import DeviceUpdates
from bench.drawn_bundle import write_drawn_bundle
from bench.training import train
from diffcdr.bundle.reader import open_bundle
from diffcdr.errors import DeviceError
from diffcdr.search.topk import MaskedRows, TopK
from tests.gpu_stand_in import GPU, GpuStandIn
from training.models.network.affine_updates import AffineUpdates
from training.models.network.config import DiffCDRConfig
from training.models.network.network import DiffCDRNetwork

HERE = torch.device("cpu")


@settings(max_examples=60)
@given(st.data())
def test_topk_gives_the_products_answers_to_the_last_bit(data: st.DataObject) -> None:
    """Whole numbers tie often; large scales leave the range of float32; small chunks split the users."""
    items, dim, users = (data.draw(st.integers(1, most)) for most in (900, 5, 7))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    scale = data.draw(st.sampled_from([1.0, 1e-30, 1e15, 1e19]))
    coarse = data.draw(st.booleans())

    def values(*shape: int) -> np.ndarray:
        drawn = rng.integers(-2, 3, shape) if coarse else rng.standard_normal(shape)
        return np.clip(drawn * scale, -3e38, 3e38).astype(np.float32)

    vectors, biases, queries, offset = values(items, dim), values(items), values(users, dim), float(values(1)[0])
    k = min(items, data.draw(st.sampled_from([1, 2, 20, 100, items])))
    counts = [data.draw(st.sampled_from([0, 1, 30, 2 * items])) for _ in range(users)]
    masked = MaskedRows.pack([rng.integers(0, items, count) for count in counts])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.device.topk, "CHUNK_SCORES", data.draw(st.sampled_from([1, 2_000, 1 << 28])))
        search = DeviceTopK(torch.from_numpy(vectors), torch.from_numpy(biases), offset=offset)
        rows, scores = search.search(torch.from_numpy(queries), k, masked=masked)
    expected_rows, expected_scores = TopK(vectors, biases, offset=offset).search(queries, k, masked=masked)
    np.testing.assert_array_equal(rows.numpy(), expected_rows)
    np.testing.assert_array_equal(scores.numpy(), expected_scores)


def test_few_users_are_searched_again() -> None:
    """Gaussian vectors do not tie: the spare places suffice, and nobody is scored exhaustively."""
    rng = np.random.default_rng(0)
    vectors, queries = (torch.from_numpy(rng.standard_normal((n, 10), dtype=np.float32)) for n in (20_000, 64))
    search = DeviceTopK(vectors, torch.zeros(len(vectors)))
    _, complete = search._best_keys(queries, 20, None)
    assert complete.all()


@pytest.mark.parametrize("frequencies", ["over_half", "to_the_end"])
def test_training_takes_the_products_steps(frequencies: str) -> None:
    """Eleven whole batches and a rest, so that warming up, recording and a batch of another size all happen."""
    config = DiffCDRConfig.model_validate(
        {"activation": "none", "rows": "ratings", "time_frequencies": frequencies, "batch_size": 16, "nfe": 7}
    )
    problem = train.drawn_problem(config.model_copy(update={"batch_size": 177}), batches=1)
    losses, weights = [], []
    for on_device in (False, True):
        generator = torch.Generator().manual_seed(0)
        network = DiffCDRNetwork(config, source_dim=train.DIM, target_dim=train.DIM, generator=generator)
        if on_device:
            updates: AffineUpdates | DeviceUpdates = DeviceUpdates(network, config, problem=problem, device=HERE)
        else:
            updates = AffineUpdates(network, config, problem=problem)
        losses.append([updates.epoch(generator) for _ in range(2)])
        weights.append(torch.cat([parameter.flatten() for parameter in network.parameters()]))
    for ours, theirs in zip(*losses, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-3, atol=1e-3)


def test_a_replayed_call_gives_what_the_call_gives() -> None:
    calls: list[int] = []

    def work(values: Tensor) -> Tensor:
        calls.append(len(values))
        return 2.0 * values

    doubled = Replayed(work, HERE)
    for n in [3] * (WARM_UP + 2) + [5, 3]:
        values = torch.randn(n, 2)
        torch.testing.assert_close(doubled(values), 2.0 * values)


def test_users_that_fill_no_chunk_are_carried_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row is measured only if every answer is the reference's."""
    monkeypatch.setattr("bench.device.rows.CHUNK", 8)
    assert activated(users=45, nfe=2, device=HERE).ratio > 0.0


def test_what_serving_measures_on_a_gpu(gpu: GpuStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows but that over HTTP, which starts a service of its own."""
    monkeypatch.setattr("bench.device.serving.place", lambda device: GPU)
    path = tmp_path / "bundle"
    write_drawn_bundle(path, users=1_100, items=200, graph=silu_graph(nfe=2))
    bundle = open_bundle(path)
    rows = [*_transfers(bundle, "cuda"), *_searches("cuda", full=False), _file(bundle, tmp_path, "cuda")]
    assert len(rows) == 5
    assert gpu.runs > 0
    for row in rows:
        assert (row.bench, row.unit) == ("serving", "users/s")
        assert row.ratio == pytest.approx(row.ours / row.baseline)


@pytest.mark.parametrize("name", sorted(set(DEVICE_BENCHES) - {"serving"}))
def test_every_device_bench_measures(name: str) -> None:
    for row in DEVICE_BENCHES[name]("short", device=HERE):
        assert row.bench == name
        assert row.case.startswith("torch on the processor: ")
        assert row.ratio == pytest.approx(row.ours / row.baseline)


def test_no_device_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=r"finds no CUDA device; run this on .* or leave --device out$"):
        find_device("cuda")
