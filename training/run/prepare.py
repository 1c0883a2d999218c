"""The steps from two rating files to fitted, measured models, each a small function with a typed result.

    pair = load_pair(source, target, ...)        both files read, cleaned, paired
    prepared = prepare(pair, config, ...)        overlap users divided, base models fitted on what is not held out
    fitted = fit_model(name, prepared, ...)      one model; its choices are made on the validation users
    evaluate_test(fitted, prepared)              on the test users, once, at the very end

Nothing here prints, and nothing is written but checkpoints. Every step draws from a random stream of its own,
derived from the seed and the step's name, so that training one more model changes no other's result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from pydantic import BaseModel

from diffcdr.errors import InputError
from training.base_models.als import fit_als
from training.base_models.mf import fit_mf
from training.config import TrainConfig
from training.data.columns import Columns
from training.data.domains import DomainPair, load_domain, pair_domains
from training.data.splits import RatingColumns, Split, all_ratings, hold_out, split_overlap
from training.evaluation.evaluate import Metrics, evaluate
from training.fitting.checkpoint import CheckpointFile
from training.models.baselines.ridge import ridge_quality
from training.models.contract import (
    FactorTables,
    FitReport,
    HeldOut,
    Progress,
    RatingTable,
    TransferModel,
    TransferProblem,
)
from training.models.registry import MODELS, section_of
from training.models.table_model import TabularModel
from training.setting_types import ALSConfig

PLAIN_BASELINES = ("mean", "bias", "popular")
"""Trained beside every model: they cost next to nothing, and are what a model has to beat."""

PROBES = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Strengths of the ridge map that base models are compared by."""

CHECKPOINT_SUFFIX = ".safetensors"

Watch = Callable[[str, int], AbstractContextManager[Progress | None]]
"""(step name, its epochs) -> a block in which that step runs, and whom to tell about its epochs."""


@contextmanager
def watch_nothing(step: str, epochs: int) -> Iterator[None]:
    """Tell nobody."""
    yield None


@dataclass(frozen=True)
class DomainFile:
    """One domain's input: a rating file or folder, its columns where their names are not well known, item titles."""

    path: Path
    columns: Columns | None = None
    titles: Path | None = None


@dataclass(frozen=True)
class Run:
    """What all steps of a run share.

    ``checkpoints``: a directory to keep each step's latest state in, or None. ``variant``: added to the names of these
    files, where one model is trained several times.
    """

    config: TrainConfig
    seed: int
    rating_range: tuple[float, float]
    checkpoints: Path | None = None
    watch: Watch = watch_nothing
    variant: str = ""
    bases: Callable[[str, int | None], FactorTables] | None = None
    """Base models that are there: (``source``, ``target`` or ``complete``, k) -> tables; None where they are fitted."""

    def generator(self, step: str) -> torch.Generator:
        """The random stream of the step named ``step``."""
        return step_generator(self.seed, step)

    def checkpoint(self, step: str) -> CheckpointFile | None:
        """Where the step named ``step`` keeps its state."""
        if self.checkpoints is None:
            return None
        return CheckpointFile(self.checkpoints / f"{step}{self.variant}{CHECKPOINT_SUFFIX}")


@dataclass(frozen=True)
class Prepared:
    """What every model of one split starts from. ``test`` is for one evaluation at the end, and for nothing else."""

    pair: DomainPair
    split: Split
    problem: TransferProblem
    test: HeldOut
    complete: TransferProblem | None = None
    """``problem`` with the validation users among the training users, for when all is chosen; None for no refit."""

    def final(self, model: TransferModel) -> TransferProblem:
        """What ``model`` was fitted to in the end."""
        refitted = self.complete is not None and isinstance(model, TabularModel)
        return self.complete if refitted and self.complete is not None else self.problem


@dataclass(frozen=True)
class FittedModel:
    """A model, how it was fitted, and its figures on the validation users.

    ``judged``: the model those figures are of. ``model`` is the same, or what came of it once the validation users
    were learnt from too (:attr:`Prepared.complete`): nothing more may be chosen by them with that one.
    """

    name: str
    model: TransferModel
    report: FitReport
    validation: Metrics
    judged: TransferModel


def step_generator(seed: int, step: str) -> torch.Generator:
    """The random stream of the step named ``step``, independent of every other step's."""
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=tuple(step.encode()))
    return torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0]))


def load_pair(
    source: DomainFile,
    target: DomainFile,
    *,
    rating_range: tuple[float, float],
    excluded_users: pl.Series | None = None,
) -> DomainPair:
    """Read, clean and pair both domains, as if the ``excluded_users`` (ids) had rated nothing in either.

    Raises:
        InputError: a file yields nothing usable, or the domains share too few users.
    """
    first, second = (
        load_domain(
            file.path,
            columns=file.columns,
            rating_range=rating_range,
            titles=file.titles,
            excluded_users=excluded_users,
        )
        for file in (source, target)
    )
    return pair_domains(first, second)


def prepare(pair: DomainPair, run: Run) -> Prepared:
    """Divide the overlap users, and fit both base models on all but the held-out users' target ratings.

    Raises:
        InputError: the fractions leave no training, validation or test users, or a base model diverges.
    """
    fractions = run.config.split
    split = split_overlap(
        pair.overlap_ids(),
        test_fraction=fractions.test_fraction,
        validation_fraction=fractions.validation_fraction,
        min_validation_users=fractions.min_validation_users,
        seed=run.seed,
    )
    held = hold_out(pair, split)
    source, target = rating_table(all_ratings(pair.source)), rating_table(held.train)

    def problem(dim: int | None) -> TransferProblem:
        return TransferProblem(
            source=source,
            target=target,
            source_base=fit_base("source", source, run, dim=dim),
            target_base=fit_base("target", target, run, dim=dim),
            overlap_source=torch.from_numpy(pair.overlap_source[split.train]),
            overlap_target=torch.from_numpy(pair.overlap_target[split.train]),
            validation=_held_out(pair, split.validation, held.validation),
            rating_range=run.rating_range,
        )

    base = run.config.base
    dims = base.dims() if isinstance(base, ALSConfig) else (None,)
    problems = {dim: problem(dim) for dim in dims}
    dim = max(dims, key=lambda dim: ridge_quality(problems[dim], PROBES)) if len(dims) > 1 else dims[0]
    complete = (
        _complete(pair, split, problems[dim], run, dim=dim) if isinstance(base, ALSConfig) and base.refit else None
    )
    return Prepared(pair, split, problems[dim], _held_out(pair, split.test, held.test), complete)


def fit_complete_target(prepared: Prepared, run: Run) -> FactorTables:
    """A target base model that has seen every rating, the held-out users' too: where these users would be.

    To show in figures; no model may learn from it. It begins from the same random tables as the other.
    """
    table = rating_table(all_ratings(prepared.pair.target))
    return fit_base("target", table, replace(run, checkpoints=None, bases=None), dim=prepared.problem.target_base.dim)


def fit_model(name: str, prepared: Prepared, run: Run) -> FittedModel:
    """Fit model ``name`` (a key of ``MODELS``) with the settings of its section.

    Raises:
        InputError: training diverges, or a checkpoint in ``run.checkpoints`` belongs to another run.
    """
    settings: BaseModel = getattr(run.config, section_of(name))
    model = MODELS[name].create(settings)
    with run.watch(name, getattr(settings, "epochs", 1)) as progress:
        report = model.fit(
            prepared.problem, generator=run.generator(name), progress=progress, checkpoint=run.checkpoint(name)
        )
    problem = prepared.problem
    validation = evaluate(model, problem.validation, rating_range=run.rating_range, known=problem.target)
    final = model
    if prepared.complete is not None and isinstance(model, TabularModel):
        final = model.refit(prepared.complete, generator=run.generator(name))
    return FittedModel(name, final, report, validation, judged=model)


def evaluate_test(fitted: FittedModel, prepared: Prepared) -> Metrics:
    """The figures on the test users. Once, after every choice has been made; nothing may be chosen by them."""
    problem = prepared.problem
    return evaluate(fitted.model, prepared.test, rating_range=problem.rating_range, known=problem.target)


def clear_checkpoints(directory: Path) -> None:
    """Forget the run whose state is in ``directory``; other files there stay.

    Raises:
        InputError: the directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path in directory.glob(f"*{CHECKPOINT_SUFFIX}"):
            path.unlink()
    except OSError as error:
        raise InputError(f"cannot write to {directory}: {error.strerror}; choose another --checkpoint") from error


def _complete(
    pair: DomainPair, split: Split, problem: TransferProblem, run: Run, *, dim: int | None
) -> TransferProblem:
    learnt = np.sort(np.concatenate([split.train, split.validation]))
    target = rating_table(hold_out(pair, replace(split, train=learnt, validation=split.validation[:0])).train)
    return replace(
        problem,
        target=target,
        target_base=fit_base("target", target, run, dim=dim, role="complete"),
        overlap_source=torch.from_numpy(pair.overlap_source[learnt]),
        overlap_target=torch.from_numpy(pair.overlap_target[learnt]),
    )


def fit_base(domain: str, table: RatingTable, run: Run, *, dim: int | None, role: str | None = None) -> FactorTables:
    """The base model of ``domain`` (``source`` or ``target``) on ``table``, or what ``run.bases`` has for the ``role``.

    ``dim``: k, None for the first that the configuration names. ``role``: ``domain`` unless given.

    Raises:
        InputError: it diverges, or ``table`` is empty.
    """
    if run.bases is not None:
        return run.bases(role or domain, dim)
    step, config = f"base-{domain}", run.config.base
    if isinstance(config, ALSConfig):  # takes seconds: nothing to resume
        with run.watch(step, config.iterations) as progress:
            return fit_als(table, config, dim=dim, generator=run.generator(step), progress=progress)
    with run.watch(step, config.epochs) as progress:
        return fit_mf(
            table,
            config,
            generator=run.generator(step),
            progress=progress,
            checkpoint=run.checkpoint(step),
        )


def _held_out(pair: DomainPair, users: npt.NDArray[np.int64], ratings: RatingColumns) -> HeldOut:
    return HeldOut(source_rows=torch.from_numpy(pair.overlap_source[users]), ratings=rating_table(ratings))


def rating_table(columns: RatingColumns) -> RatingTable:
    """``columns`` as tensors; they share memory that may be written to, such as mapped tables, and copy other."""

    def tensor(column: npt.NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(column) if column.flags.writeable else torch.tensor(column)

    return RatingTable(
        users=tensor(columns.users),
        items=tensor(columns.items),
        ratings=tensor(columns.ratings),
        n_users=columns.n_users,
        n_items=columns.n_items,
    )
