"""Transfer speed of a fitted model: in PyTorch as in training, and as served (Table 4)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from diffcdr.recommend.transfer import AffineTransfer, OnnxTransfer, Transfer
from training.export.onnx import has_onnx_runtime, to_onnx
from training.models.contract import TransferModel

USERS = 10_000
"""At least so many users are carried; test users are repeated up to that."""
REPEATS, ENOUGH_S = 3, 1.0
WARM_UP = 256


def transfer_rate(model: TransferModel, rows: torch.Tensor) -> float:
    """Users a second in one batch, by PyTorch; ``rows`` int64 [U], U >= 1: source rows."""
    vectors = _many(model, rows)

    def carry(part: torch.Tensor) -> None:
        with torch.no_grad():
            model.transfer(part)

    return _rate(carry, vectors)


def served_rate(model: TransferModel, rows: torch.Tensor) -> float | None:
    """The same as a service does it: by the folded map, or the graph on ONNX Runtime's CPU provider.

    None where only a graph can be served and ONNX Runtime is not installed.
    """
    served = _served(model)
    if served is None:
        return None
    return _rate(lambda part: served(np.ascontiguousarray(part.numpy(), dtype=np.float32)), _many(model, rows))


def _served(model: TransferModel) -> Transfer | None:
    if (folded := model.fold()) is not None:
        matrix, offset = (part.numpy().astype(np.float32) for part in folded)
        return AffineTransfer(matrix, offset)
    module = model.export_module()
    if module is None or not has_onnx_runtime():
        return None
    graph = to_onnx(module, source_dim=int(model.source_vectors().shape[1]))
    return OnnxTransfer(graph, target_dim=int(model.head().item_vectors.shape[1]), threads=1)


def _many(model: TransferModel, rows: torch.Tensor) -> torch.Tensor:
    return model.source_vectors()[rows].repeat(-(-USERS // len(rows)), 1)


def _rate(carry: Callable[[torch.Tensor], object], vectors: torch.Tensor) -> float:
    """Rows a second: the median of a few tries after a small one that warms up; of one where that takes long."""
    carry(vectors[:WARM_UP])
    times: list[float] = []
    while len(times) < REPEATS and sum(times) < ENOUGH_S:
        begun = time.perf_counter()
        carry(vectors)
        times.append(time.perf_counter() - begun)
    return len(vectors) / max(statistics.median(times), 1e-9)
