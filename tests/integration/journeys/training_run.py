"""``diffcdr train`` on small domains, as fast as it goes."""

from __future__ import annotations

from pathlib import Path

from tests.command import run
from tests.unit.training.tiny import QUICK


def train(files: tuple[Path, Path], bundle: Path, *options: str | Path) -> int:
    """The exit code of training on ``files``, source and target, into ``bundle``."""
    sets = [part for override in QUICK for part in ("--set", override)]
    arguments = ["--source", files[0], "--target", files[1], "--bundle", bundle, "--preset", "reference", *sets]
    return run("train", *arguments, *options)
