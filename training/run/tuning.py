"""Fits a model for every combination of a grid, and keeps the best on validation users."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from diffcdr.bundle.manifest import Trial, Tuning
from diffcdr.errors import InputError
from diffcdr.metric_names import is_better
from training.config import TrainConfig
from training.fitting.loop import Progress
from training.models.network.model import DiffCDR
from training.models.registry import section_of
from training.run.fit import FittedModel, evaluate, fit_model
from training.run.grids import SAMPLING, SettingGrids, combinations, criterion
from training.run.prepare import Prepared
from training.run.run import Run


@dataclass(frozen=True)
class Tuned:
    """``fitted``: the best of all that were tried. ``tuning``: what was tried; None where there was nothing to try."""

    fitted: FittedModel
    tuning: Tuning | None = None


def fit_tuned(name: str, prepared: Prepared, run: Run, grids: SettingGrids) -> Tuned:
    """Fit model ``name`` with every combination of its grids; the best on the validation users is kept, of equals the
    first. Test users are not looked at.

    Settings of :data:`~training.run.grids.SAMPLING` are tried on one training of the network, which is done under the
    run's own value of them. Every training starts from the same random stream, so that the one kept is what a run with
    the chosen settings alone would give.

    Raises:
        InputError: as :func:`training.run.fit.fit_model`, or the figure to choose by is one that the model has not.
    """
    own = grids.of_model(name)
    if not own:
        return Tuned(fit_model(name, prepared, run))
    metric = criterion(run.config, name)
    trainings = combinations({key: values for key, values in own.items() if key not in SAMPLING})
    samplings = combinations({key: values for key, values in own.items() if key in SAMPLING})
    trials: list[Trial] = []
    best: tuple[FittedModel, Trial] | None = None
    for number, settings in enumerate(trainings, start=1):
        trained = fit_model(name, prepared, _run_with(run, name, settings, of=(number, len(trainings))))
        for sampling in samplings:
            fitted = _resampled(trained, sampling, prepared, run)
            trial = Trial(settings=settings | sampling, validation=fitted.validation.as_dict())
            trials.append(trial)
            if best is None or is_better(_figure(trial, metric), _figure(best[1], metric), metric=metric):
                best = fitted, trial
    assert best is not None
    return Tuned(best[0], Tuning(metric=metric, chosen=best[1].settings, trials=tuple(trials)))


def _figure(trial: Trial, metric: str) -> float:
    if metric not in trial.validation:
        raise InputError(f"the model has no {metric} on the validation users, so a grid cannot be chosen by it")
    return trial.validation[metric]


def with_settings(config: TrainConfig, name: str, settings: Mapping[str, Any]) -> TrainConfig:
    """``config`` with ``settings`` in the section of model ``name``."""
    section = section_of(name)
    return config.model_copy(update={section: getattr(config, section).model_copy(update=dict(settings))})


def _run_with(run: Run, name: str, settings: Mapping[str, Any], *, of: tuple[int, int]) -> Run:
    if not settings:
        return run
    shown = ", ".join(f"{key}={value}" for key, value in settings.items())
    label = f"{name}, {shown} ({of[0]} of {of[1]})"

    def watch(step: str, epochs: int) -> AbstractContextManager[Progress | None]:
        return run.watch(label, epochs)

    return replace(run, config=with_settings(run.config, name, settings), watch=watch, variant=f"-{of[0]}")


def _resampled(trained: FittedModel, sampling: Mapping[str, float], prepared: Prepared, run: Run) -> FittedModel:
    if not sampling:
        return trained
    assert isinstance(trained.model, DiffCDR)  # the models that have such settings
    model = trained.model.with_guidance(sampling["guidance_scale"])
    problem = prepared.problem
    validation = evaluate(
        model, problem.validation, rating_range=run.rating_range, known=problem.target, source=problem.source
    )
    return replace(trained, model=model, judged=model, validation=validation)
