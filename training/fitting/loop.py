"""The epoch loop: train, validate, keep the best epoch, write a checkpoint, report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from diffcdr.errors import InputError
from diffcdr.metric_names import is_better
from training.fitting.checkpoint import Checkpoint, CheckpointFile


@dataclass(frozen=True)
class Training:
    """What the loop drives.

    ``module`` holds every weight. ``train_epoch(generator)`` goes through the ``rows`` rows once and returns its
    losses; ``validate()`` returns figures on the validation users, or nothing where there are none.
    """

    module: nn.Module
    optimizers: Sequence[torch.optim.Optimizer]
    train_epoch: Callable[[torch.Generator], dict[str, float]]
    rows: int
    validate: Callable[[], dict[str, float]] = dict


@dataclass
class _State:
    """The part of a run, beside weights and optimisers, that decides how it goes on."""

    figures: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float | None = None
    best_weights: dict[str, Tensor] = field(default_factory=dict)


def run_epochs(
    training: Training,
    *,
    epochs: int,
    select_by: str | None,
    generator: torch.Generator,
    settings: dict[str, Any],
    progress: Progress | None = None,
    checkpoint: CheckpointFile | None = None,
) -> FitReport:
    """Train for ``epochs`` epochs and leave ``training.module`` at the best of them.

    ``select_by``: the validation figure to be best; without it, or without validation ratings, the last epoch is
    kept. ``settings``: what identifies this run (JSON values); a checkpoint with others is refused.

    Raises:
        InputError: a loss stops being finite, or the checkpoint belongs to another run.
    """
    begun = time.perf_counter()
    state = _resume(training, checkpoint, settings=settings, generator=generator)
    for epoch in range(len(state.figures) + 1, epochs + 1):
        figures = training.train_epoch(generator)
        figures.update(training.validate())
        _check_finite(figures, epoch)
        state.figures.append(figures)
        if select_by is None or select_by not in figures:
            state.best_epoch = epoch
        elif state.best_value is None or is_better(figures[select_by], state.best_value, metric=select_by):
            state.best_epoch, state.best_value = epoch, figures[select_by]
            state.best_weights = {name: value.detach().clone() for name, value in training.module.state_dict().items()}
        if checkpoint is not None:
            checkpoint.save(_snapshot(training, state, settings=settings, generator=generator))
        if progress is not None:
            progress(epoch=epoch, epochs=epochs, rows=training.rows, figures=figures)
    if state.best_weights:
        training.module.load_state_dict(state.best_weights)
    return FitReport(
        epochs=state.figures,
        best_epoch=state.best_epoch,
        rows=training.rows * len(state.figures),
        seconds=time.perf_counter() - begun,
    )


def _check_finite(figures: dict[str, float], epoch: int) -> None:
    for name, value in figures.items():
        if not math.isfinite(value):
            raise InputError(f"training diverged: {name} is {value} in epoch {epoch}; lower the learning rate (lr)")


def _snapshot(training: Training, state: _State, *, settings: dict[str, Any], generator: torch.Generator) -> Checkpoint:
    tensors = {f"weights.{name}": value for name, value in training.module.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in state.best_weights.items()}
    tensors["generator"] = generator.get_state()
    optimizers = []
    for n, optimizer in enumerate(training.optimizers):
        content = optimizer.state_dict()
        plain: dict[str, dict[str, Any]] = {}
        for parameter, values in content["state"].items():
            plain[str(parameter)] = {key: value for key, value in values.items() if not isinstance(value, Tensor)}
            for key, value in values.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{n}.{parameter}.{key}"] = value
        optimizers.append({"state": plain, "param_groups": content["param_groups"]})
    facts = {
        "settings": settings,
        "optimizers": optimizers,
        "figures": state.figures,
        "best_epoch": state.best_epoch,
        "best_value": state.best_value,
    }
    return Checkpoint(tensors, facts)


def _resume(
    training: Training, checkpoint: CheckpointFile | None, *, settings: dict[str, Any], generator: torch.Generator
) -> _State:
    saved = checkpoint.load() if checkpoint is not None else None
    if checkpoint is None or saved is None:
        return _State()
    if saved.facts["settings"] != settings:
        raise InputError(
            f"checkpoint {checkpoint.path} is of another run (settings, seed or data differ); "
            "delete it, or give this run a checkpoint of its own"
        )
    training.module.load_state_dict(_under("weights.", saved.tensors))
    for n, optimizer in enumerate(training.optimizers):
        content = saved.facts["optimizers"][n]
        state: dict[int, dict[str, Any]] = {int(key): dict(values) for key, values in content["state"].items()}
        for name, tensor in _under(f"optimizer.{n}.", saved.tensors).items():
            parameter, key = name.split(".", 1)
            state[int(parameter)][key] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": content["param_groups"]})
    generator.set_state(saved.tensors["generator"])
    return _State(
        figures=saved.facts["figures"],
        best_epoch=saved.facts["best_epoch"],
        best_value=saved.facts["best_value"],
        best_weights=_under("best.", saved.tensors),
    )


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


class Progress(Protocol):
    """Told after each epoch; ``figures`` are losses and validation metrics."""

    def __call__(self, *, epoch: int, epochs: int, rows: int, figures: dict[str, float]) -> None:
        """``epoch`` of ``epochs`` is done (from 1); it went through ``rows`` rows."""


@dataclass
class FitReport:
    """What training did: one dictionary of figures per epoch, the epoch kept, rows and seconds."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    rows: int = 0
    seconds: float = 0.0
