"""What this machine can do at best, measured: the rates that cost is held against in sweeps."""

from __future__ import annotations

import numpy as np
import torch

from bench.harness import timed

REPEATS = 5


def sgemm_rate(rows: int, inner: int, columns: int) -> float:
    """Floating-point operations a second of [rows, inner] x [inner, columns] in float32 on torch, the best of a few."""
    left, right = torch.ones(rows, inner), torch.ones(inner, columns)
    out = torch.empty(rows, columns)
    return 2.0 * rows * inner * columns / min(timed(lambda: torch.mm(left, right, out=out)) for _ in range(REPEATS))


def copy_rate(size: int) -> float:
    """Bytes read and written a second in copying an array of ``size`` bytes, the best of a few.

    A copy that fits into a cache is faster than memory, as is work on as many bytes.
    """
    source = np.ones(max(size // 4, 1), dtype=np.float32)
    target = np.empty_like(source)
    return 2.0 * source.nbytes / min(timed(lambda: np.copyto(target, source)) for _ in range(REPEATS))
