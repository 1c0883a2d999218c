"""What a GPU is asked to carry, and what happens when it fails, seen through a stand-in for ONNX Runtime's provider."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diffcdr.bundle.reader import open_bundle
from diffcdr.device.health import DeviceHealth
from diffcdr.errors import DeviceError
from diffcdr.recommend import cuda_transfer
from diffcdr.recommend.cuda_transfer import CUDA_ROWS, CudaTransfer
from diffcdr.recommend.transfer import GuardedTransfer, OnnxTransfer, load_transfer
from tests.bundles import tanh_graph, write_bundle
from tests.gpu_stand_in import GPU, GpuStandIn

RNG = np.random.default_rng(7)
MATRIX, OFFSET = RNG.standard_normal((8, 6)).astype(np.float32), RNG.standard_normal(6).astype(np.float32)


def carried(vectors: np.ndarray) -> np.ndarray:
    return OnnxTransfer(tanh_graph(MATRIX, OFFSET), target_dim=6, threads=1)(vectors)


def test_blocks_have_one_shape_and_rows_their_own_bits(gpu: GpuStandIn) -> None:
    transfer = CudaTransfer(tanh_graph(MATRIX, OFFSET), GPU, source_dim=8, target_dim=6)
    vectors = RNG.standard_normal((2 * CUDA_ROWS + 77, 8)).astype(np.float32)
    together = transfer(vectors)
    np.testing.assert_allclose(together, carried(vectors), rtol=0, atol=1e-5)
    for row in (0, CUDA_ROWS - 1, CUDA_ROWS, len(vectors) - 1):
        assert transfer(vectors[row : row + 1]).tobytes() == together[row].tobytes()
    assert transfer(vectors[:0]).shape == (0, 6)
    assert {len(part) for part in (transfer(vectors[:count]) for count in (1, CUDA_ROWS))} == {1, CUDA_ROWS}


def test_a_block_cannot_overwrite_the_one_before(gpu: GpuStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_transfer, "IN_FLIGHT", 1)  # so every block of a call goes through the same buffers
    transfer = CudaTransfer(tanh_graph(MATRIX, OFFSET), GPU, source_dim=8, target_dim=6)
    vectors = RNG.standard_normal((4 * CUDA_ROWS, 8)).astype(np.float32)
    np.testing.assert_allclose(transfer(vectors), carried(vectors), rtol=0, atol=1e-5)


def test_the_provider_is_told_to_multiply_exactly_and_to_record(gpu: GpuStandIn) -> None:
    CudaTransfer(tanh_graph(MATRIX, OFFSET), GPU, source_dim=8, target_dim=6)
    ((name, options),) = gpu.providers[0]
    assert name == "CUDAExecutionProvider"
    assert (options["use_tf32"], options["enable_cuda_graph"], options["device_id"]) == ("0", "1", "0")
    assert set(gpu.devices) == {("cuda", 0)}


@pytest.mark.parametrize("says", ["CUDA failure 2: out of memory", "BFCArena: Failed to allocate memory for requested"])
def test_what_has_no_room_is_answered_by_the_processor_and_counted(gpu: GpuStandIn, tmp_path: Path, says: str) -> None:
    write_bundle(tmp_path / "b", kind="onnx")
    bundle, health = open_bundle(tmp_path / "b"), DeviceHealth()
    transfer = load_transfer(bundle, device="cuda", health=health)
    heard: list[str] = []
    health.listen(heard.append)
    vectors = bundle.source_users.vectors
    expected = transfer(vectors)
    gpu.fails = says
    np.testing.assert_allclose(transfer(vectors), expected, rtol=0, atol=1e-5)
    assert (heard, health.lost, transfer.placement.device) == (["memory"], None, "cuda:0")
    gpu.fails = None
    assert transfer(vectors).tobytes() == expected.tobytes()
    assert health.count("memory") == 1


def test_a_lost_gpu_is_not_asked_again(gpu: GpuStandIn, tmp_path: Path) -> None:
    write_bundle(tmp_path / "b", kind="onnx")
    bundle, health = open_bundle(tmp_path / "b"), DeviceHealth()
    transfer = load_transfer(bundle, device="auto", health=health)
    assert isinstance(transfer, GuardedTransfer)
    gpu.fails = "CUDA failure 700: an illegal memory access was encountered"
    transfer(bundle.source_users.vectors)
    runs = gpu.runs
    gpu.fails = None
    transfer(bundle.source_users.vectors)
    assert gpu.runs == runs
    assert (transfer.placement.device, health.count("lost")) == ("cpu", 1)
    assert "700" in str(transfer.placement.reason)
    late: list[str] = []
    health.listen(late.append)
    assert late == ["lost"]


def test_a_graph_that_the_gpu_cannot_run(gpu: GpuStandIn, tmp_path: Path) -> None:
    write_bundle(tmp_path / "b", kind="onnx")
    gpu.fails = "not all nodes have been partitioned to the CUDAExecutionProvider"
    with pytest.raises(DeviceError, match="not all nodes"):
        load_transfer(open_bundle(tmp_path / "b"), device="cuda")
    settled = load_transfer(open_bundle(tmp_path / "b"), device="auto")
    assert settled.placement.device == "cpu"
    assert "partitioned" in str(settled.placement.reason)


def test_a_folded_map_stays_on_the_processor(gpu: GpuStandIn, tmp_path: Path) -> None:
    write_bundle(tmp_path / "b", kind="affine")
    assert load_transfer(open_bundle(tmp_path / "b"), device="cuda").placement.provider == "NumPy"
    assert gpu.providers == []
