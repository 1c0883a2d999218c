"""Source vectors [B, source_dim] -> target vectors [B, target_dim]: the folded affine map, or the ONNX solver graph.

A user's vector does not depend, to the last bit, on who else was in the batch. The kernels of a joint matrix product
sum differently for a narrow batch and for the rows at a tile's edge. So the folded map is one product per user, all
of one shape, and batches for the graph are padded with zero rows to a multiple of ``BLOCK``.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np

from diffcdr.arrays import Float32Array
from diffcdr.bundle.reader import Bundle
from diffcdr.errors import BundleError, DeviceError, MissingExtraError
from diffcdr.recommend.graph_files import check_graph

Device = Literal["auto", "cpu", "cuda"]

BLOCK = 32
ROWS_AT_A_TIME = {"cpu": 1024, "cuda": 4096}
"""What goes through the graph at once: on a processor no more than its caches hold."""


class Transfer(Protocol):
    """A deterministic map from source to target vectors."""

    device: str
    """Where it runs: ``cpu`` or ``cuda``."""

    def __call__(self, vectors: Float32Array) -> Float32Array:
        """Map float32 [B, source_dim] to float32 [B, target_dim], B >= 0."""
        ...


class AffineTransfer:
    """``vectors @ matrix + offset``: the whole of guidance, solver and alignment where the DIM is affine."""

    device = "cpu"

    def __init__(self, matrix: Float32Array, offset: Float32Array) -> None:
        self._matrix = np.ascontiguousarray(matrix, dtype=np.float32)
        self._offset = np.ascontiguousarray(offset, dtype=np.float32)

    def __call__(self, vectors: Float32Array) -> Float32Array:
        """Carry float32 [B, source_dim] to float32 [B, target_dim]."""
        rows = np.ascontiguousarray(vectors, dtype=np.float32)
        out: Float32Array = np.matmul(rows[:, None, :], self._matrix)[:, 0]
        out += self._offset
        return out


class OnnxTransfer:
    """The exported solver graph on ONNX Runtime."""

    def __init__(self, graph: bytes, *, target_dim: int, device: Device, threads: int) -> None:
        """Raises DeviceError as :func:`resolve_device`; BundleError if the graph cannot be loaded."""
        check_graph(memoryview(graph))
        ort = _onnxruntime()
        self.device = resolve_device(device)
        self._target_dim = target_dim
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        providers = ["CPUExecutionProvider"]
        if self.device == "cuda":
            providers.insert(0, "CUDAExecutionProvider")
        try:
            self._session = ort.InferenceSession(graph, sess_options=options, providers=providers)
        except Exception as error:
            raise BundleError(
                f"the bundle's transfer graph cannot be loaded: {error}; publish the bundle again"
            ) from error
        if self.device == "cuda" and "CUDAExecutionProvider" not in self._session.get_providers():
            if device == "cuda":
                raise DeviceError("ONNX Runtime could not start its CUDA provider; check the driver, CUDA and cuDNN")
            self.device = "cpu"

    def __call__(self, vectors: Float32Array) -> Float32Array:
        """Carry float32 [B, source_dim] to float32 [B, target_dim], at most ``ROWS_AT_A_TIME`` in one call."""
        out = np.empty((len(vectors), self._target_dim), dtype=np.float32)
        step = ROWS_AT_A_TIME[self.device]
        for start in range(0, len(vectors), step):
            part = vectors[start : start + step]
            out[start : start + len(part)] = self._session.run(None, {"source": pad_rows(part)})[0][: len(part)]
        return out


def load_transfer(bundle: Bundle, *, device: Device = "auto", threads: int = 1) -> Transfer:
    """The bundle's transfer: the fold where there is one, else the graph.

    Raises:
        DeviceError: ``device`` is ``cuda`` and ONNX Runtime has no CUDA provider here.
        MissingExtraError: the bundle needs ONNX Runtime and it is not installed.
    """
    if bundle.affine is not None:
        if device == "cuda":
            resolve_device(device)
        return AffineTransfer(*bundle.affine)
    if bundle.graph is None:
        raise BundleError(f"bundle {bundle.path} has neither a folded map nor a graph; publish it again")
    target_dim = bundle.manifest.transfer.target_dim
    return OnnxTransfer(bundle.graph.tobytes(), target_dim=target_dim, device=device, threads=threads)


def resolve_device(device: Device) -> str:
    """``cpu`` or ``cuda``: what ``device`` means on this machine.

    Raises:
        DeviceError: ``cuda`` was asked for and ONNX Runtime has no CUDA provider.
    """
    if device == "cpu":
        return "cpu"
    try:
        has_cuda = "CUDAExecutionProvider" in _onnxruntime().get_available_providers()
    except MissingExtraError:
        has_cuda = False
    if device == "cuda" and not has_cuda:
        raise DeviceError(
            "device cuda was asked for, but ONNX Runtime has no CUDA provider here; "
            "install diffcdr[serve-gpu] on a machine with an NVIDIA driver, or use device auto or cpu"
        )
    return "cuda" if has_cuda else "cpu"


def pad_rows(vectors: Float32Array) -> Float32Array:
    """``vectors`` with zero rows added up to a multiple of ``BLOCK`` (at least one block), C-contiguous."""
    rows = max(BLOCK, -(-len(vectors) // BLOCK) * BLOCK)
    if rows == len(vectors):
        return np.ascontiguousarray(vectors, dtype=np.float32)
    padded = np.zeros((rows, vectors.shape[1]), dtype=np.float32)
    padded[: len(vectors)] = vectors
    return padded


def _onnxruntime() -> Any:
    try:
        import onnxruntime  # noqa: PLC0415 - optional: affine bundles do not need it
    except ImportError as error:
        raise MissingExtraError("this bundle's transfer", extra="serve") from error
    return onnxruntime
