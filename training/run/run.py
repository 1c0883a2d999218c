"""A training run: its configuration, seed and checkpoints, shared by all of its steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from diffcdr.errors import InputError
from training.config import TrainConfig
from training.fitting.checkpoint import CheckpointFile
from training.fitting.loop import Progress
from training.problem import FactorTables

CHECKPOINT_SUFFIX = ".safetensors"
Watch = Callable[[str, int], AbstractContextManager[Progress | None]]
"""(step name, its epochs) -> a block in which that step runs, and whom to tell about its epochs."""


@contextmanager
def watch_nothing(step: str, epochs: int) -> Iterator[None]:
    """Ignore progress."""
    yield None


@dataclass(frozen=True)
class Run:
    """The parts that all steps of a run share.

    ``checkpoints``: a directory to keep each step's latest state in, or None. ``variant``: added to the names of these
    files, where one model is trained several times.
    """

    config: TrainConfig
    seed: int
    rating_range: tuple[float, float]
    source_range: tuple[float, float] | None = None
    """Of the source domain, where it is not ``rating_range``."""
    checkpoints: Path | None = None
    watch: Watch = watch_nothing
    variant: str = ""
    bases: Callable[[str, int | None], FactorTables] | None = None
    """Base models that are there: (``source``, ``target`` or ``complete``, k) -> tables; None where they are fitted."""

    def generator(self, step: str) -> torch.Generator:
        """The random stream of the step named ``step``."""
        return step_generator(self.seed, step)

    def checkpoint(self, step: str) -> CheckpointFile | None:
        """The checkpoint file of the step named ``step``."""
        if self.checkpoints is None:
            return None
        return CheckpointFile(self.checkpoints / f"{step}{self.variant}{CHECKPOINT_SUFFIX}")


def step_generator(seed: int, step: str) -> torch.Generator:
    """The random stream of the step named ``step``, independent of every other step's."""
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=tuple(step.encode()))
    return torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0]))


def clear_checkpoints(directory: Path) -> None:
    """Remove the checkpoints in ``directory``; other files stay.

    Raises:
        InputError: the directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path in directory.glob(f"*{CHECKPOINT_SUFFIX}"):
            path.unlink()
    except OSError as error:
        raise InputError(f"cannot write to {directory}: {error.strerror}; choose another --checkpoint") from error


def ready_checkpoints(directory: Path | None, *, resume: bool) -> None:
    """Prepare ``directory`` for a run: existing checkpoints are removed unless this run resumes from them.

    Raises:
        InputError: there is nothing to go on from, or the directory cannot be written.
    """
    if directory is None:
        if resume:
            raise InputError("--resume needs --checkpoint DIR, the directory of the run to go on from")
    elif not resume:
        clear_checkpoints(directory)
