"""Sessions of ONNX Runtime on a GPU, and blocks of one shape that go through a recorded graph.

Launching the kernels of a solver one by one costs several times what they compute, so they are recorded as one CUDA
graph and replayed. A recording has fixed addresses and a fixed shape, and ONNX Runtime keeps it for the thread that
made it: so each has its own buffers and its own thread. Blocks of one shape are also what makes a row's bits its own:
cuBLAS takes another kernel for another shape.

While a graph is recorded, no other thread may allocate or copy: the driver would break the recording off. So all work
on GPUs passes :data:`GATE`.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from typing import Any

import numpy as np

from diffcdr.arrays import Float32Array
from diffcdr.device.placement import CUDA_PROVIDER, Placement, onnx_runtime

RECORDING_RUNS = 3
"""Calls until a graph is recorded and replayed: libraries choose kernels and take memory in the first ones."""


class Gate:
    """A lock: many threads may run, or one may record and none run."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._working = 0
        self._recording = False

    @contextmanager
    def working(self) -> Iterator[None]:
        """Block recordings for the duration."""
        with self._changed:
            self._changed.wait_for(lambda: not self._recording)
            self._working += 1
        try:
            yield
        finally:
            with self._changed:
                self._working -= 1
                self._changed.notify_all()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Wait until no thread runs, and block all others for the duration."""
        with self._changed:
            self._changed.wait_for(lambda: not self._recording)
            self._recording = True
            self._changed.wait_for(lambda: not self._working)
        try:
            yield
        finally:
            with self._changed:
                self._recording = False
                self._changed.notify_all()


GATE = Gate()
"""One for the process, as the driver's rule is."""


def open_session(
    graph: bytes, placement: Placement, *, recorded: bool = False, fixed: Mapping[str, int] | None = None
) -> Any:
    """A session for ``graph`` on the GPU of ``placement``.

    Args:
        graph: an ONNX model.
        placement: a GPU.
        recorded: replay it as a CUDA graph; inputs and outputs must then be bound, on the device.
        fixed: sizes of named dimensions.

    Raises:
        RuntimeError: the provider cannot run all of it, or the GPU has no room.
    """
    runtime = onnx_runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # what fails is raised, and told of by whoever catches it
    for name, size in (fixed or {}).items():
        options.add_free_dimension_override_by_name(name, size)
    provider = {
        "device_id": str(placement.index),
        "use_tf32": "0",  # products of ten bits would give other items than the CPU
        "arena_extend_strategy": "kSameAsRequested",
    }
    if recorded:
        provider["enable_cuda_graph"] = "1"
    with redirect_stdout(io.StringIO()):
        session = runtime.InferenceSession(
            graph, sess_options=options, providers=[(CUDA_PROVIDER, provider)], enable_fallback=0
        )
    if CUDA_PROVIDER not in session.get_providers():
        raise RuntimeError(f"ONNX Runtime runs the graph on {session.get_providers()} instead")
    return session


class RecordedBlock:
    """``graph`` for float32 blocks [rows, source_dim], recorded on a thread of its own."""

    def __init__(self, graph: bytes, placement: Placement, *, rows: int, source_dim: int, target_dim: int) -> None:
        """``graph``: input ``source`` [batch, source_dim], output ``target``. Raises as :func:`open_session`."""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gpu")
        try:
            self._thread.submit(self._record, graph, placement, (rows, source_dim), (rows, target_dim)).result()
        except BaseException:
            self._thread.shutdown()
            raise

    def start(self, block: Float32Array, out: Float32Array) -> Future[None]:
        """Begin to compute ``block`` [rows, source_dim], C-contiguous; its first rows fill ``out`` [B, target_dim].

        Copied out on this thread: the next block may overwrite the buffer as soon as this one is done.
        """
        return self._thread.submit(self._run, block, out)

    def _record(self, graph: bytes, placement: Placement, source: tuple[int, int], target: tuple[int, int]) -> None:
        values = onnx_runtime().OrtValue
        with GATE.recording():
            self._session = open_session(graph, placement, recorded=True, fixed={"batch": source[0]})
            zeros = np.zeros(source, dtype=np.float32)
            self._source = values.ortvalue_from_numpy(zeros, "cuda", placement.index)
            self._target = values.ortvalue_from_shape_and_type(list(target), np.float32, "cuda", placement.index)
            self._binding = self._session.io_binding()
            self._binding.bind_ortvalue_input("source", self._source)
            self._binding.bind_ortvalue_output("target", self._target)
            for _ in range(RECORDING_RUNS):
                self._compute(zeros)

    def _run(self, block: Float32Array, out: Float32Array) -> None:
        with GATE.working():
            out[:] = self._compute(block)[: len(out)]

    def _compute(self, block: Float32Array) -> Float32Array:
        """The answer for ``block``, perhaps in the very memory that the next one is written to."""
        self._source.update_inplace(block)
        self._session.run_with_iobinding(self._binding)
        target: Float32Array = self._target.numpy()
        return target
