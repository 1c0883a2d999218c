"""The steps from two rating files to fitted, measured models, each a small function with a typed result.

    pair = load_pair(source, target, ...)        both files read, cleaned, paired
    prepared = prepare(pair, config, ...)        overlap users split, base models fitted on what is not held out
    fitted = fit_model(name, prepared, ...)      one model; its choices are made on the validation users
    evaluate_test(fitted, prepared)              on the test users, once, at the very end

Nothing here prints, and nothing is written but checkpoints. Every step draws from a random stream of its own,
derived from the seed and the step's name, so that training one more model changes no other's result.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from diffcdr.files.reading import Reading
from training.base_models.als import fit_als
from training.base_models.config import ALSConfig, MFConfig
from training.base_models.mf import fit_mf
from training.base_models.unrated import drawn_zeros, joined
from training.data.domains import Domain, DomainPair, load_domain, pair_domains
from training.data.doubts import Rules, all_done
from training.data.events import EventFile
from training.data.item_file import ItemFile
from training.data.splits import Split, all_ratings, hold_out
from training.data.titles import TitleFile
from training.models.baselines.ridge import ridge_quality
from training.models.contract import TransferModel
from training.models.table_model import TabularModel
from training.problem import FactorTables, HeldOut, TransferProblem
from training.rating_table import RatingTable
from training.run.division import divide
from training.run.run import Run

PROBES = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Strengths of the ridge map that base models are compared by."""


@dataclass(frozen=True)
class DomainFile:
    """One domain's input: a rating file or folder, a title or item file, how to read them, and the rules for doubts."""

    path: Path
    reading: Reading = field(default_factory=Reading)
    titles: TitleFile | None = None
    items: ItemFile | None = None
    rating_range: tuple[float, float] = (1.0, 5.0)
    rules: Rules = field(default_factory=Rules)


@dataclass(frozen=True)
class Prepared:
    """The common start of all models of one split. ``test`` is for one evaluation at the end only."""

    pair: DomainPair
    split: Split
    problem: TransferProblem
    test: HeldOut
    complete: TransferProblem | None = None
    """``problem`` with the validation users among the training users, for when all is chosen; None for no refit."""
    likes: tuple[float, float] | None = None
    """The lowest ratings of source and target that all of this is of; None for every rating."""
    cut: str | None = None
    """The last moment of training, ISO 8601, where data are split by time; None for a split by user."""
    unknown_items: int = 0
    """Later ratings of test users that nobody is judged by: of items without a rating up to the cut."""

    def final(self, model: TransferModel) -> TransferProblem:
        """What ``model`` was fitted to in the end."""
        refitted = self.complete is not None and isinstance(model, TabularModel)
        return self.complete if refitted and self.complete is not None else self.problem


def load_pair(
    source: DomainFile,
    target: DomainFile,
    *,
    rating_range: tuple[float, float] | None = None,
    excluded_users: pl.Series | None = None,
    excluded_found: set[str] | None = None,
    events: EventFile | None = None,
) -> DomainPair:
    """Read, clean and pair both domains, as if the ``excluded_users`` (ids) had rated nothing in either.

    ``rating_range``: of both, where it is not those of the files; ``excluded_found``: takes those that occur;
    ``events``: what users sent since, added to both.

    Raises:
        InputError: a file yields nothing usable, or the domains share too few users.
    """

    def load(file: DomainFile) -> Domain:
        return load_domain(
            file.path,
            reading=file.reading,
            rating_range=rating_range or file.rating_range,
            titles=file.titles,
            excluded_users=excluded_users,
            excluded_found=excluded_found,
            rules=file.rules,
            events=events,
        ).with_items(file.items)

    return pair_domains(*all_done([partial(load, source), partial(load, target)]))


def prepare(pair: DomainPair, run: Run) -> Prepared:
    """Divide the data, and fit both base models on all but the held-out users' target ratings.

    What is divided by time (``split.by``) ends at the cut: ``Prepared.pair`` holds nothing later.

    Where the base models' ``positive_threshold`` says what a like is, of likes alone; users are divided as without it.

    Raises:
        InputError: the fractions leave no training, validation or test users, a base model diverges, or a domain has
            no likes.
    """
    base = run.config.base
    likes = base.likes() if isinstance(base, ALSConfig) else None
    divided = divide(pair, run.config.split, seed=run.seed)
    if likes is not None:
        divided = divided.likes_from(*likes)
    pair, split, held = divided.pair, divided.split, divided.held_out()
    source, target = all_ratings(pair.source), held.train

    source_zeros, target_zeros = zeros_of("source", source, run), zeros_of("target", target, run)

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
            source_range=run.source_range,
            source_times=pair.source.timestamps,
            source_ids=pair.source.users.array,
            source_zeros=source_zeros,
            target_zeros=target_zeros,
        )

    dims = base.dims() if isinstance(base, ALSConfig) else (None,)
    problems = {dim: problem(dim) for dim in dims}
    dim = max(dims, key=lambda dim: ridge_quality(problems[dim], PROBES)) if len(dims) > 1 else dims[0]
    complete = (
        _complete(pair, split, problems[dim], run, dim=dim) if isinstance(base, ALSConfig) and base.refit else None
    )
    test = _held_out(pair, split.test, held.test)
    return Prepared(pair, split, problems[dim], test, complete, likes, divided.cut, divided.unknown_items)


def _complete(
    pair: DomainPair, split: Split, problem: TransferProblem, run: Run, *, dim: int | None
) -> TransferProblem:
    learnt = np.sort(np.concatenate([split.train, split.validation]))
    target = hold_out(pair, replace(split, train=learnt, validation=split.validation[:0])).train
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
        shown = step + (f"-{dim}" if len(config.dims()) > 1 else "") + (f"-{role}" if role is not None else "")
        with run.watch(shown, config.iterations) as progress:
            return fit_als(table, config, dim=dim, generator=run.generator(step), progress=progress)
    with run.watch(step, config.epochs) as progress:
        return fit_mf(
            joined(table, zeros_of(domain, table, run)),
            config,
            generator=run.generator(step),
            progress=progress,
            checkpoint=run.checkpoint(step),
        )


def zeros_of(domain: str, table: RatingTable, run: Run) -> RatingTable | None:
    """The ratings of 0 that the settings add to ``table``, the same at every call; None where they add none."""
    per_rating = run.config.base.negatives if isinstance(run.config.base, MFConfig) else 0
    if not per_rating:
        return None
    return drawn_zeros(table, per_rating=per_rating, generator=run.generator(f"negatives-{domain}"))


def _held_out(pair: DomainPair, users: npt.NDArray[np.int64], ratings: RatingTable) -> HeldOut:
    return HeldOut(source_rows=torch.from_numpy(pair.overlap_source[users]), ratings=ratings)
