"""Opens the trackers that a command's options ask for."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from diffcdr.errors import MissingExtraError
from training.trackers.base import Tracker, Trackers


def open_trackers(*, tensorboard: Path | None, mlflow: str | None) -> Trackers:
    """The trackers asked for: none where both are None.

    Args:
        tensorboard: directory of event files.
        mlflow: tracking URI.

    Raises:
        InputError: one cannot be written to.
        MissingExtraError: what one needs is not installed.
    """
    trackers: list[Tracker] = []
    # Imported where asked for: either takes a second or more, and MLflow may not be there.
    if tensorboard is not None:
        _need("tensorboard", option="--tensorboard", extra="train")
        trackers.append(import_module("training.trackers.tensorboard").TensorBoardTracker(tensorboard))
    if mlflow is not None:
        _need("mlflow", option="--mlflow", extra="mlflow")
        trackers.append(import_module("training.trackers.mlflow").MLflowTracker(mlflow))
    return Trackers(trackers)


def _need(package: str, *, option: str, extra: str) -> None:
    if find_spec(package) is None:
        raise MissingExtraError(option, extra=extra)
