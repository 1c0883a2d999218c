"""TensorBoard: event files in a directory, to be looked at with ``tensorboard --logdir DIR``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from diffcdr.errors import InputError
from training.trackers.base import Settings, TrackedRun, Tracker, flat


class TensorBoardTracker(Tracker):
    """Each run is a directory of its own in ``directory``; settings are its text ``settings``."""

    def __init__(self, directory: Path) -> None:
        """Raises InputError where ``directory`` cannot be written."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write to {directory}: {error.strerror}; choose another --tensorboard") from error
        self._directory = directory

    def start(self, name: str, settings: Settings) -> TrackedRun:
        """Begin an event file."""
        return _Run(self._directory / name, settings)


class _Run(TrackedRun):
    def __init__(self, directory: Path, settings: Settings) -> None:
        self._writer = SummaryWriter(str(directory))
        rows = [f"| {name} | {value} |" for name, value in flat(settings).items()]
        self._writer.add_text("settings", "\n".join(["| setting | value |", "| --- | --- |", *rows]))

    def figures(self, values: Mapping[str, float], *, step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, *, failed: bool) -> None:
        self._writer.close()
