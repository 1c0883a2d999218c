"""Both kinds of transfer: right, the same in any batch, and clear about devices that are not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcdr.bundle.reader import open_bundle
from diffcdr.errors import BundleError, DeviceError
from diffcdr.recommend.transfer import (
    BLOCK,
    ROWS_AT_A_TIME,
    AffineTransfer,
    OnnxTransfer,
    load_transfer,
    mean_jacobian,
    pad_rows,
)
from tests.bundles import tanh_graph, write_bundle

RNG = np.random.default_rng(5)
MATRIX = RNG.standard_normal((64, 48)).astype(np.float32)
OFFSET = RNG.standard_normal(48).astype(np.float32)


def test_affine_is_the_affine_map() -> None:
    vectors = RNG.standard_normal((77, 64)).astype(np.float32)
    exact = vectors.astype(np.float64) @ MATRIX.astype(np.float64) + OFFSET
    np.testing.assert_allclose(AffineTransfer(MATRIX, OFFSET)(vectors), exact, rtol=0, atol=1e-4)


def test_onnx_runs_the_graph_over_more_rows_than_one_call_takes() -> None:
    transfer = OnnxTransfer(tanh_graph(MATRIX, OFFSET), target_dim=48, threads=1)
    vectors = RNG.standard_normal((ROWS_AT_A_TIME + 5, 64)).astype(np.float32)
    np.testing.assert_allclose(transfer(vectors), np.tanh(vectors @ MATRIX + OFFSET), rtol=0, atol=1e-4)


@settings(max_examples=30)
@given(st.integers(0, 300), st.integers(0, 2**32), st.sampled_from(["affine", "onnx"]))
def test_a_row_does_not_depend_on_its_batch(rows: int, seed: int, kind: str) -> None:
    transfer = AffineTransfer(MATRIX, OFFSET) if kind == "affine" else _onnx()
    vectors = np.random.default_rng(seed).standard_normal((rows, 64)).astype(np.float32)
    together = transfer(vectors)
    assert together.shape == (rows, 48)
    for i in range(0, rows, 37):
        assert transfer(vectors[i : i + 1]).tobytes() == together[i].tobytes()


@settings(max_examples=60)
@given(
    st.integers(1, 40),
    st.integers(1, 20),
    st.integers(0, 70),
    st.integers(0, 2**32),
    st.sampled_from([1.0, 1e-38, 1e30, 1e38]),
)
def test_the_folded_map_is_its_definition_to_the_last_bit(
    source_dim: int, target_dim: int, rows: int, seed: int, scale: float
) -> None:
    """Python floats are float64, and are added up in order. So no processor's own order shows."""
    rng = np.random.default_rng(seed)
    matrix = (scale * rng.uniform(-1, 1, (source_dim, target_dim))).astype(np.float32)
    offset, vectors = (rng.standard_normal(shape).astype(np.float32) for shape in (target_dim, (rows, source_dim)))
    expected = np.empty((rows, target_dim), dtype=np.float32)
    for row, vector in enumerate(vectors.tolist()):
        for column in range(target_dim):
            total = vector[0] * float(matrix[0, column])
            for value, weight in zip(vector[1:], matrix[1:, column].tolist(), strict=True):
                total += value * weight
            with np.errstate(over="ignore"):
                expected[row, column] = np.float32(total + float(offset[column]))
    assert AffineTransfer(matrix, offset)(vectors).tobytes() == expected.tobytes()


@pytest.mark.parametrize("dim", [1, 10, 16, 32, 33, 128])
@pytest.mark.parametrize("rows", [33, 64, 256])
def test_every_row_is_the_same_alone_at_every_width(dim: int, rows: int) -> None:
    """Which kernel a joint product takes depends on the width, and on where a row falls in a tile."""
    transfer = AffineTransfer(
        RNG.standard_normal((dim, dim)).astype(np.float32), RNG.standard_normal(dim).astype(np.float32)
    )
    vectors = RNG.standard_normal((rows, dim)).astype(np.float32)
    alone = np.concatenate([transfer(vectors[i : i + 1]) for i in range(rows)])
    np.testing.assert_array_equal(transfer(vectors), alone)


def test_batch_of_4096() -> None:
    vectors = RNG.standard_normal((4096, 64)).astype(np.float32)
    for transfer in (AffineTransfer(MATRIX, OFFSET), _onnx()):
        together = transfer(vectors)
        assert all(transfer(vectors[i : i + 1]).tobytes() == together[i].tobytes() for i in range(0, 4096, 151))


def test_padding_is_whole_blocks() -> None:
    assert [len(pad_rows(np.ones((rows, 2), dtype=np.float32))) for rows in (0, 1, BLOCK, BLOCK + 1)] == [
        BLOCK,
        BLOCK,
        BLOCK,
        2 * BLOCK,
    ]


def test_a_bundle_chooses_its_transfer(tmp_path: Path) -> None:
    write_bundle(tmp_path / "affine", kind="affine")
    write_bundle(tmp_path / "onnx", kind="onnx")
    affine, onnx = (load_transfer(open_bundle(tmp_path / kind), device="cpu") for kind in ("affine", "onnx"))
    assert isinstance(affine, AffineTransfer)
    assert isinstance(onnx, OnnxTransfer)
    vectors = open_bundle(tmp_path / "onnx").source_users.vectors
    np.testing.assert_allclose(np.tanh(affine(vectors)), onnx(vectors), rtol=0, atol=1e-6)


def test_cuda_without_a_gpu_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    write_bundle(tmp_path / "bundle")
    with pytest.raises(DeviceError, match="serve-gpu"):
        load_transfer(open_bundle(tmp_path / "bundle"), device="cuda")
    assert load_transfer(open_bundle(tmp_path / "bundle"), device="auto").placement.device == "cpu"


def test_a_graph_that_is_none_is_a_bundle_error() -> None:
    with pytest.raises(BundleError, match="not an ONNX model"):
        OnnxTransfer(b"not a graph", target_dim=1, threads=1)


def _onnx() -> OnnxTransfer:
    return OnnxTransfer(tanh_graph(MATRIX, OFFSET), target_dim=48, threads=1)


def test_the_mean_jacobian_is_complete() -> None:
    rng = np.random.default_rng(5)
    matrix = rng.normal(size=(7, 4))

    def cubic(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        mixed = rows.astype(np.float64) @ matrix
        return (mixed + 0.2 * mixed**3).astype(np.float32)

    start, end = rng.normal(size=(2, 7)).astype(np.float32)
    found = (end.astype(np.float64) - start) @ mean_jacobian(cubic, start, end)
    (first,), (last,) = cubic(start[None]), cubic(end[None])
    np.testing.assert_allclose(found, last - first, atol=2e-3)
    linear = mean_jacobian(lambda rows: (rows @ matrix).astype(np.float32), start, end)
    np.testing.assert_allclose(linear, matrix, atol=1e-3)
    zero = np.zeros(7, dtype=np.float32)
    np.testing.assert_allclose(mean_jacobian(cubic, zero, zero), matrix, atol=1e-3)
