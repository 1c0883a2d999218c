"""The solver graph on a GPU, in blocks of one shape, several of them in flight."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue

import numpy as np

from diffcdr.arrays import Float32Array
from diffcdr.device.placement import Placement
from diffcdr.device.sessions import RecordedBlock

Record = Callable[[], RecordedBlock]

CUDA_ROWS = 1024
"""Rows of a block: 256 rows take as long, and 4,096 rows half as long again (docs/how-to/gpu.md)."""
IN_FLIGHT = 16
"""Most blocks computed at a time. Each has its own recording, made at first use in a tenth of a second."""


class CudaTransfer:
    """Transfers vectors in blocks of ``CUDA_ROWS`` rows, padded with zeros. Safe to share between threads."""

    def __init__(self, graph: bytes, placement: Placement, *, source_dim: int, target_dim: int) -> None:
        """Record one block. Raises what ONNX Runtime raises if the GPU cannot run ``graph``."""
        self.placement = placement
        self._source_dim, self._target_dim = source_dim, target_dim
        self._record: Record = lambda: RecordedBlock(
            graph, placement, rows=CUDA_ROWS, source_dim=source_dim, target_dim=target_dim
        )
        self._idle: SimpleQueue[RecordedBlock] = SimpleQueue()
        self._lock = threading.Lock()
        self._made = 1
        self._idle.put(self._record())

    def __call__(self, vectors: Float32Array) -> Float32Array:
        """Transfer float32 [B, source_dim] to float32 [B, target_dim]; raises what ONNX Runtime raises."""
        out = np.empty((len(vectors), self._target_dim), dtype=np.float32)
        started: list[Future[None]] = []
        for start in range(0, len(vectors), CUDA_ROWS):
            rows = slice(start, start + CUDA_ROWS)
            lane, block = self._take(), self._filled(vectors[rows])
            future = lane.start(block, out[rows])
            future.add_done_callback(lambda _, lane=lane: self._idle.put(lane))  # type: ignore[misc]
            started.append(future)
        for future in started:
            future.result()
        return out

    def _filled(self, part: Float32Array) -> Float32Array:
        """``part`` [1 to CUDA_ROWS, source_dim] with zero rows up to ``CUDA_ROWS``, C-contiguous."""
        if len(part) == CUDA_ROWS:
            return np.ascontiguousarray(part, dtype=np.float32)
        block = np.zeros((CUDA_ROWS, self._source_dim), dtype=np.float32)
        block[: len(part)] = part
        return block

    def _take(self) -> RecordedBlock:
        """An idle block, or a new one if the limit allows it."""
        try:
            return self._idle.get_nowait()
        except Empty:
            with self._lock:
                wanted = self._made < IN_FLIGHT
                self._made += wanted
        if not wanted:
            return self._idle.get()
        try:
            return self._record()
        except BaseException:
            with self._lock:
                self._made -= 1
            raise
