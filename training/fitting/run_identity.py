"""What tells one training run from another: its settings, its seed, and a hash of the data it sees."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor


def run_settings(name: str, config: BaseModel, *, generator: torch.Generator, data: list[Tensor]) -> dict[str, Any]:
    """JSON values to be found equal before a checkpoint is resumed."""
    digest = hashlib.sha256()
    for tensor in data:
        digest.update(str((tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return {
        "model": name,
        "config": config.model_dump(mode="json"),
        "seed": generator.initial_seed(),
        "data": digest.hexdigest(),
    }
