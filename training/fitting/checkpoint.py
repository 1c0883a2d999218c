"""Training checkpoints: one safetensors file, its small facts as JSON in the header. Never pickle.

A checkpoint holds all that decides the rest of a run (weights, optimiser state, random state, best epoch so far),
so that a resumed run equals an uninterrupted one bit for bit. It is replaced by rename: a crash leaves the old one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from diffcdr.atomic import replacing_file
from diffcdr.errors import InputError
from training.setting_types import SelectBy


@dataclass(frozen=True)
class Checkpoint:
    """``tensors`` by dotted name; ``facts``: JSON values (epoch, figures, optimiser groups, settings)."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class CheckpointFile:
    """The file with the latest checkpoint of a training run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint, atomically.

        Raises:
            InputError: the file cannot be written.
        """
        blob = save(
            {name: tensor.detach().contiguous() for name, tensor in checkpoint.tensors.items()},
            metadata={"facts": json.dumps(checkpoint.facts)},
        )
        try:
            with replacing_file(self.path) as staging:
                staging.write_bytes(blob)
        except OSError as error:
            raise self._unwritable(error) from error

    def load(self) -> Checkpoint | None:
        """The latest checkpoint, or None where there is none yet.

        Raises:
            InputError: the file is there and cannot be read as a checkpoint.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
                facts = json.loads(file.metadata()["facts"])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"checkpoint {self.path} cannot be read ({error}); delete it to start over") from error
        return Checkpoint(tensors, facts)

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(f"checkpoint {self.path} cannot be written ({error.strerror}); free space or choose another")


class RunSettings(Protocol):
    """What a checkpoint needs of a model's settings."""

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """The settings as JSON values."""


class EpochSettings(RunSettings, Protocol):
    """What training in epochs needs of a model's settings."""

    @property
    def epochs(self) -> int:
        """How many at most."""

    @property
    def select_by(self) -> SelectBy:
        """The validation error by which the epoch to keep is chosen."""


def run_settings(name: str, config: RunSettings, *, generator: torch.Generator, data: list[Tensor]) -> dict[str, Any]:
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
