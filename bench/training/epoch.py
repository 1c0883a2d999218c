"""One epoch of a base model at full size, in a process of its own, so that its peak memory is its own too.

    python -m bench.training.epoch RATINGS USERS ITEMS

Prints seconds of processor time and the peak of resident memory in GB, drawing the ratings included in the latter.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bench.harness import timed
from bench.serving.processes import ONE_THREAD
from diffcdr.errors import DiffCDRError
from training.base_models.config import MFConfig
from training.base_models.mf import fit_mf
from training.rating_table import RatingTable


@dataclass(frozen=True)
class Epoch:
    """What one epoch took."""

    seconds: float
    peak_gb: float


def measure_epoch(*, ratings: int, users: int, items: int) -> Epoch:
    """Fit drawn ratings for one epoch in a process of its own.

    Raises:
        DiffCDRError: it failed.
    """
    command = [sys.executable, "-m", __name__, str(ratings), str(users), str(items)]
    done = subprocess.run(command, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DiffCDRError(f"an epoch of {ratings:,} ratings failed: {done.stderr.strip()[-300:]}")
    seconds, peak = map(float, done.stdout.split())
    return Epoch(seconds, peak)


def drawn_table(*, ratings: int, users: int, items: int) -> RatingTable:
    """Ratings from 1 to 5 of users and items drawn at random."""
    rng = np.random.default_rng(0)
    return RatingTable(
        rng.integers(users, size=ratings),
        rng.integers(items, size=ratings),
        rng.integers(1, 6, size=ratings).astype(np.float32),
        users,
        items,
    )


def _here(ratings: int, users: int, items: int) -> Epoch:
    torch.set_num_threads(1)
    table = drawn_table(ratings=ratings, users=users, items=items)
    config = MFConfig(optimizer="adam", epochs=1)
    seconds = timed(lambda: fit_mf(table, config, generator=torch.Generator().manual_seed(0)))
    # Not getrusage, whose peak may be that of the process which started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kilobytes = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return Epoch(seconds, 1024 * kilobytes / 1e9)


if __name__ == "__main__":
    epoch = _here(*map(int, sys.argv[1:]))
    sys.stdout.write(f"{epoch.seconds} {epoch.peak_gb}\n")
