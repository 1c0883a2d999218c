"""Source vectors [B, source_dim] -> target vectors [B, target_dim]: the folded affine map, or the ONNX solver graph.

A user's vector does not depend, to the last bit, on the other users in the batch. Kernels of matrix products sum in
different orders for narrow batches, for rows at a tile's edge, and on other processors. So the folded map, like a score
(:mod:`diffcdr.search.topk`), is defined by the order of its sum, and is the same everywhere. Batches for the graph are
padded with zero rows to a multiple of ``BLOCK``, which gives the same bits on one kind of processor. On another kind,
ONNX Runtime uses other kernels, and vectors agree within ``GRAPH_TOLERANCE``. On a GPU, all blocks have ``CUDA_ROWS``
rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import numpy as np

from diffcdr.arrays import Float32Array, Float64Array
from diffcdr.bundle.reader import Bundle
from diffcdr.device.health import DeviceHealth
from diffcdr.device.names import Device
from diffcdr.device.placement import CPU_PROVIDER, Placement, onnx_runtime, place
from diffcdr.errors import BundleError, DeviceError
from diffcdr.recommend.cuda_transfer import CudaTransfer
from diffcdr.recommend.graph_files import check_graph

logger = logging.getLogger(__name__)

BLOCK = 32
ROWS_AT_A_TIME = 1024
"""Rows that go through the graph at once on a CPU, so that they fit into its caches."""
FOLDED_AT_A_TIME, MANY_USERS = 512, 64
"""Users that the folded map transfers at a time, and the number from which it loops over dimensions."""
GRAPH_TOLERANCE = 1e-4
"""Largest distance between a user's vectors from the graph on any two processors, relative to their length; publishing
requires the same bound between PyTorch, the graph and the fold."""

NODES = 24
"""Gauss-Legendre nodes: exact for transfers that are polynomials of degree 47 on the line."""
STEP = 1e-2
"""Step of a difference, relative to the root mean square of the line's ends; smaller steps give float32 noise."""
COMPLETENESS = 5e-3
"""Largest error of ``(end - start) J``, relative to the longer of both vectors; tests check it for solver graphs with
activations."""
MOVED_AT_ONCE = 4096


class Transfer(Protocol):
    """A deterministic map from source to target vectors."""

    @property
    def placement(self) -> Placement:
        """Where it runs now."""
        ...

    def __call__(self, vectors: Float32Array) -> Float32Array:
        """Map float32 [B, source_dim] to float32 [B, target_dim], B >= 0."""
        ...


class AffineTransfer:
    """``vectors @ matrix + offset``: guidance, solver and alignment in one map, for an affine DIM.

    Value k is ``float32(sum_d vector_d matrix_dk + offset_k)``, added up in float64 in the order d = 0, 1, …
    """

    placement = Placement("cpu", "NumPy", np.__version__)

    def __init__(self, matrix: Float32Array, offset: Float32Array) -> None:
        self._target_dim = matrix.shape[1]
        # With one column, einsum computes a dot product, which it sums in another order.
        self._matrix = np.zeros((len(matrix), max(2, self._target_dim)))
        self._matrix[:, : self._target_dim] = matrix
        self._offset = np.asarray(offset, dtype=np.float64)

    def __call__(self, vectors: Float32Array) -> Float32Array:
        """Transfer float32 [B, source_dim] to float32 [B, target_dim]; inf beyond float32."""
        out = np.empty((len(vectors), self._target_dim), dtype=np.float32)
        for start in range(0, len(vectors), FOLDED_AT_A_TIME):
            part = slice(start, start + FOLDED_AT_A_TIME)
            sums = self._sums(np.asarray(vectors[part], dtype=np.float64))[:, : self._target_dim]
            with np.errstate(over="ignore"):
                out[part] = sums + self._offset
        return out

    def _sums(self, rows: Float64Array) -> Float64Array:
        # float32 products are exact in float64, fused or not; einsum, unlike BLAS, adds the term of d to each sum in
        # turn. It is fast where the last axis is long.
        if len(rows) < MANY_USERS:
            few: Float64Array = np.einsum("bd,dk->bk", rows, self._matrix, optimize=False)
            return few
        many: Float64Array = np.einsum("db,dk->kb", np.ascontiguousarray(rows.T), self._matrix, optimize=False)
        return many.T


class OnnxTransfer:
    """The exported solver graph on ONNX Runtime's CPU provider."""

    def __init__(self, graph: bytes, *, target_dim: int, threads: int, reason: str | None = None) -> None:
        """``reason``: why not on a GPU. Raises BundleError if the graph cannot be loaded."""
        check_graph(memoryview(graph))
        runtime = onnx_runtime()
        self.placement = Placement("cpu", CPU_PROVIDER, runtime.__version__, reason)
        self._target_dim = target_dim
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(graph, sess_options=options, providers=[CPU_PROVIDER])
        except Exception as error:
            raise BundleError(
                f"the bundle's transfer graph cannot be loaded: {error}; publish the bundle again"
            ) from error

    def __call__(self, vectors: Float32Array) -> Float32Array:
        """Transfer float32 [B, source_dim] to float32 [B, target_dim], at most ``ROWS_AT_A_TIME`` in one call."""
        out = np.empty((len(vectors), self._target_dim), dtype=np.float32)
        for start in range(0, len(vectors), ROWS_AT_A_TIME):
            part = vectors[start : start + ROWS_AT_A_TIME]
            out[start : start + len(part)] = self._session.run(None, {"source": pad_rows(part)})[0][: len(part)]
        return out


class GuardedTransfer:
    """The graph on a GPU. Failed batches are counted and computed on the CPU; a lost GPU is not used again."""

    def __init__(self, on_gpu: CudaTransfer, on_cpu: OnnxTransfer, health: DeviceHealth) -> None:
        """Both must be of one graph."""
        self._on_gpu, self._on_cpu, self._health = on_gpu, on_cpu, health

    @property
    def placement(self) -> Placement:
        """The GPU until it is lost."""
        lost = self._health.lost
        if lost is None:
            return self._on_gpu.placement
        now = self._on_cpu.placement
        return Placement(now.device, now.provider, now.version, f"the GPU was lost: {lost}")

    def __call__(self, vectors: Float32Array) -> Float32Array:
        """Transfer float32 [B, source_dim] to float32 [B, target_dim]."""
        if self._health.lost is None:
            try:
                return self._on_gpu(vectors)
            except Exception as error:  # ONNX Runtime raises RuntimeError, and errors of its own
                self._health.failed(error)
        return self._on_cpu(vectors)


def load_transfer(
    bundle: Bundle, *, device: Device = "auto", threads: int = 1, health: DeviceHealth | None = None
) -> Transfer:
    """The bundle's transfer: the fold, on the CPU, if there is one, else the graph.

    Raises:
        DeviceError: ``device`` names a GPU that cannot be used, or that cannot run the graph.
        MissingExtraError: the bundle needs ONNX Runtime and it is not installed.
    """
    if bundle.affine is not None:
        if device not in ("auto", "cpu"):
            place(device)
        return AffineTransfer(*bundle.affine)
    if bundle.graph is None:
        raise BundleError(f"bundle {bundle.path} has neither a folded map nor a graph; publish it again")
    spec, graph = bundle.manifest.transfer, bundle.graph.tobytes()
    placement = place(device)
    on_cpu = OnnxTransfer(graph, target_dim=spec.target_dim, threads=threads, reason=placement.reason)
    if not placement.on_gpu:
        return on_cpu
    try:
        on_gpu = CudaTransfer(graph, placement, source_dim=spec.source_dim, target_dim=spec.target_dim)
    except Exception as error:  # as in GuardedTransfer
        why = f"{placement.device} cannot run the transfer graph of bundle {bundle.path} ({_first_line(error)})"
        if device != "auto":
            raise DeviceError(f"{why}; make room on the GPU, or use device auto or cpu") from error
        logger.warning("a GPU driver is here, but computing on the CPU: %s", why)
        return OnnxTransfer(graph, target_dim=spec.target_dim, threads=threads, reason=why)
    return GuardedTransfer(on_gpu, on_cpu, health or DeviceHealth())


def mean_jacobian(
    transfer: Callable[[Float32Array], Float32Array], start: Float32Array, end: Float32Array
) -> Float64Array:
    """[source_dim, target_dim], the mean of the Jacobian of ``transfer`` along the line from ``start`` to ``end``.

    These are integrated gradients (Sundararajan et al. 2017), by central differences: ``transfer(end) -
    transfer(start)`` is ``(end - start) J``. So if ``end - start`` is a sum, its parts, mapped by J, add up.

    ``start`` and ``end``: [source_dim], finite.
    """
    dim = len(start)
    first, last = start.astype(np.float64), end.astype(np.float64)
    scale = float(np.sqrt(np.mean(np.square([first, last]))))
    step = STEP * scale if scale > 0 else STEP
    places, weights = np.polynomial.legendre.leggauss(NODES)
    nodes = first + np.outer((places + 1.0) / 2.0, last - first)
    total: Float64Array | None = None
    steps = step * np.eye(dim)
    together = max(1, MOVED_AT_ONCE // (2 * dim))
    for begin in range(0, NODES, together):
        some = nodes[begin : begin + together]
        moved = np.stack([some[:, None] + steps, some[:, None] - steps]).astype(np.float32)
        reached = transfer(moved.reshape(-1, dim)).astype(np.float64).reshape(*moved.shape[:3], -1)
        # The actual distance, after rounding the points to float32.
        apart = np.einsum("nii->ni", moved[0].astype(np.float64) - moved[1])
        slopes = (reached[0] - reached[1]) / apart[..., None]
        part = np.einsum("n,nij->ij", weights[begin : begin + together] / 2.0, slopes)
        total = part if total is None else total + part
    assert total is not None
    return total


def pad_rows(vectors: Float32Array) -> Float32Array:
    """``vectors`` with zero rows added up to a multiple of ``BLOCK`` (at least one block), C-contiguous."""
    rows = max(BLOCK, -(-len(vectors) // BLOCK) * BLOCK)
    if rows == len(vectors):
        return np.ascontiguousarray(vectors, dtype=np.float32)
    padded = np.zeros((rows, vectors.shape[1]), dtype=np.float32)
    padded[: len(vectors)] = vectors
    return padded


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
