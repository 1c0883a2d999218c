"""The exact search with its float32 part on a GPU: the lists of :class:`diffcdr.search.topk.TopK`, ties included.

The GPU multiplies a chunk of users with all items, and keeps the best blocks of items and their best items, a few more
than k. The CPU then checks, with the same three margins as its own search, that no other item can be among the k best,
and computes exact scores. Users for whom the check fails (large ties, hardly any item left) get the exact search on the
CPU, and so do all users when the GPU fails.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from diffcdr.arrays import BoolArray, Float32Array, Float64Array, Int32Array
from diffcdr.device.health import DeviceHealth
from diffcdr.device.placement import Placement, onnx_runtime
from diffcdr.device.sessions import GATE, open_session
from diffcdr.search.candidates import LOWEST, unpack
from diffcdr.search.device_graph import NOTHING, BlockShape, search_graph
from diffcdr.search.topk import MaskedRows, TopK

OpenSession = Callable[[bytes, Placement], Any]
Found = tuple[Int32Array, Float32Array, Float32Array]
"""Rows, values and maxima, as :func:`search_graph` gives them."""

SCORES_AT_ONCE = 1 << 27
"""float32 scores of a chunk of users: 512 MiB on the GPU."""
MOST_USERS, FEWEST_USERS = 2_048, 16
AT_A_TIME = 2
"""Chunks on the GPU at once: one computes while the other is copied."""
SPARE, LEAST_KEPT = 12, 32
MOST_K = 1_000
MEASURED_USERS = 256
NEVER = 1 << 62


class DeviceTopK:
    """The contract of :class:`TopK`. Threads may share it."""

    prefixes = True

    def __init__(
        self,
        exact: TopK,
        items: tuple[Float32Array, Float32Array],
        placement: Placement,
        *,
        health: DeviceHealth,
        sample: Float32Array,
        forced: bool = False,
        opened: OpenSession = open_session,
    ) -> None:
        """Copy the items to the GPU and measure from how many users on it is faster.

        Args:
            exact: the search of the same items on the CPU.
            items: their vectors float32 [n, dim] and biases float32 [n], n >= 1.
            placement: the GPU.
            health: records failures.
            sample: float32 [S, dim], typical user vectors, S >= 1.
            forced: always use the GPU, even if the CPU is faster.
            opened: makes sessions.

        Raises:
            RuntimeError, or an error of ONNX Runtime: there is no room, or the provider cannot run the search.
        """
        self.placement, self._exact, self._health, self._forced = placement, exact, health, forced
        self.n_items, self.dim = exact.n_items, exact.dim
        self._sample = np.resize(sample, (MEASURED_USERS, self.dim)).astype(np.float32)
        self._shape = shape = BlockShape.of(self.n_items, self.dim)
        self.chunk = int(np.clip(SCORES_AT_ONCE // shape.columns, FEWEST_USERS, MOST_USERS))
        self._opened = opened
        self._lock = threading.Lock()
        self._sessions: dict[tuple[int, bool], Any] = {}
        self._free = threading.Semaphore(AT_A_TIME)
        table = np.zeros((shape.width, shape.columns), dtype=np.float32)
        table[: self.dim, : self.n_items] = items[0].T
        table[self.dim, : self.n_items] = items[1]
        table[self.dim, self.n_items :] = NOTHING
        with GATE.working():
            self._items = onnx_runtime().OrtValue.ortvalue_from_numpy(table, "cuda", placement.index)
        self.fewest = 1
        """Number of users in a batch from which the GPU is used."""
        self._measure()

    @property
    def device(self) -> str:
        """Where it runs; ``cpu`` if that was measured to be faster for any number of users."""
        return "cpu" if self.fewest == NEVER else self.placement.device

    def compile(self) -> None:
        """See :meth:`TopK.compile`; afterwards the CPU may be faster for more users."""
        self._exact.compile()
        self._measure()

    def search(
        self, users: Float32Array, k: int, *, masked: MaskedRows | None = None
    ) -> tuple[Int32Array, Float32Array]:
        """Like :meth:`TopK.search`, to the last bit."""
        if len(users) < self.fewest or k > MOST_K or self._health.lost is not None:
            return self._exact.search(users, k, masked=masked)
        try:
            return self._search(np.asarray(users, dtype=np.float32), k, masked)
        except Exception as error:  # ONNX Runtime raises RuntimeError, and errors of its own
            self._health.failed(error)
            return self._exact.search(users, k, masked=masked)

    def _search(self, users: Float32Array, k: int, masked: MaskedRows | None) -> tuple[Int32Array, Float32Array]:
        rows = np.full((len(users), k), -1, dtype=np.int32)
        scores = np.full((len(users), k), -np.inf, dtype=np.float32)
        width = min(k, self.n_items)
        complete = np.zeros(len(users), dtype=np.bool_)
        for start in range(0, len(users), self.chunk):
            part = slice(start, min(start + self.chunk, len(users)))
            margin = self._exact.margin(users[part])
            found = self._found(users[part], margin, width, masked, part)
            complete[part] = self._nothing_missing(found, margin, width)
            candidates = np.where(found[1] > NOTHING / 2, found[0], -1)
            best = unpack(self._exact.ranked_keys(users[part], candidates)[:, :width])
            rows[part, : best[0].shape[1]], scores[part, : best[1].shape[1]] = best
        rest = np.flatnonzero(~complete)
        if len(rest):
            only = None if masked is None else masked.take(rest)
            rows[rest], scores[rest] = self._exact.search(users[rest], k, masked=only)
        return rows, scores

    def _found(
        self, users: Float32Array, margin: Float64Array, k: int, masked: MaskedRows | None, part: slice
    ) -> Found:
        """The items that the GPU keeps for ``users`` [U, dim]; ``part``: their positions in ``masked``."""
        extended = np.zeros((len(users), self._shape.width), dtype=np.float32)
        plain = np.isfinite(margin)
        extended[plain, : self.dim] = users[plain]
        extended[:, self.dim] = 1.0
        inputs: dict[str, npt.NDArray[Any]] = {"users": extended}
        if masked is not None and len(masked.rows):
            pairs = np.stack(masked.part(part.start, part.stop), axis=1, dtype=np.int64)
            if len(pairs):
                inputs |= {"pairs": pairs, "nothing": np.full(len(pairs), NOTHING, dtype=np.float32)}
        session = self._session(_kept(k), "pairs" in inputs)
        with self._free, GATE.working():
            binding = session.io_binding()
            binding.bind_ortvalue_input("items", self._items)
            for name, value in inputs.items():
                binding.bind_cpu_input(name, value)
            for name in ("rows", "values", "maxima"):
                binding.bind_output(name, "cpu")
            session.run_with_iobinding(binding)
            rows, values, maxima = binding.copy_outputs_to_cpu()
        return rows, values, maxima

    def _nothing_missing(self, found: Found, margin: Float64Array, k: int) -> BoolArray:
        """Whether no item that was not kept can be among the ``k`` best, [U]; see ``candidates.above``."""
        _, values, maxima = found
        complete = np.isfinite(margin)
        for kept, of in ((maxima, self._shape.blocks), (values, self._shape.deep * maxima.shape[1])):
            if kept.shape[1] < of:
                bound = np.maximum(kept[:, k - 1].astype(np.float64) - 3 * margin, LOWEST)
                complete &= kept[:, -1] < bound
        return complete

    def _session(self, kept: int, masked: bool) -> Any:
        with self._lock:
            if (kept, masked) not in self._sessions:
                with GATE.working():
                    graph = search_graph(self._shape, kept=kept, masked=masked)
                    self._sessions[kept, masked] = self._opened(graph, self.placement)
            return self._sessions[kept, masked]

    def _measure(self) -> None:
        """Set :attr:`fewest` by timing searches for one user and for many on both devices."""
        k = min(20, self.n_items)
        sizes = (1, min(MEASURED_USERS, self.chunk))

        def seconds(search: Callable[[Float32Array], object], count: int) -> float:
            users, best = self._sample[:count], np.inf
            for _ in range(3):
                started = time.perf_counter()
                search(users)
                best = min(best, time.perf_counter() - started)
            return best

        # These first calls also allocate memory and choose kernels, so failures show here.
        gpu = [seconds(lambda users: self._search(users, k, None), count) for count in sizes]
        if self._forced:
            self.fewest = 1
            return
        cpu = [seconds(lambda users: self._exact.search(users, k), count) for count in sizes]
        counts = np.arange(1, sizes[1] + 1)
        faster = np.interp(counts, sizes, gpu) < np.interp(counts, sizes, cpu)
        self.fewest = int(counts[faster][0]) if faster.any() else NEVER


def _kept(k: int) -> int:
    """Blocks and items kept for lists of ``k``: a power of two, so that lists of many lengths share a session."""
    return max(LEAST_KEPT, 1 << (k + SPARE - 1).bit_length())
