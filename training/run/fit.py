"""Fits a model on prepared data and measures it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from pydantic import BaseModel

from diffcdr.errors import DiffCDRError
from diffcdr.search.sparse_part import SparsePart
from training.data.splits import all_ratings
from training.evaluation.evaluate import Metrics, evaluate_vectors
from training.evaluation.ranking import UserLists
from training.evaluation.sampled import SampledRanking, sampled_metrics
from training.fitting.loop import FitReport
from training.models.contract import TransferModel
from training.models.registry import MODELS, section_of
from training.models.sparse_term import sparse_part
from training.models.table_model import TabularModel
from training.problem import FactorTables, HeldOut
from training.rating_table import RatingTable
from training.run.prepare import Prepared, fit_base
from training.run.run import Run


def evaluate(
    model: TransferModel,
    held_out: HeldOut,
    *,
    rating_range: tuple[float, float],
    k: int = 20,
    known: RatingTable | None = None,
    source: RatingTable | None = None,
    detailed: bool = False,
) -> Metrics:
    """Measure ``model``, fitted, on the cold-start users of ``held_out``; see :func:`evaluate_vectors`.

    ``source``: all source ratings; a model with a sparse term is not measured without them. ``detailed``: with the
    figures of :mod:`training.evaluation.detail`, which need ``known`` and ``source``.
    """
    with torch.no_grad():
        vectors = model.transfer(model.source_vectors()[held_out.source_rows]).numpy()
    return evaluate_vectors(
        vectors,
        model.head(),
        held_out.ratings,
        name=model.name,
        rating_range=rating_range,
        k=k,
        known=known,
        sparse=part_of(model, held_out, source),
        lengths=np.diff(source.indptr())[held_out.source_rows.numpy()] if detailed and source is not None else None,
    )


def part_of(model: TransferModel, held_out: HeldOut, source: RatingTable | None) -> SparsePart | None:
    """What the histories of the users of ``held_out`` in ``source`` add to the scores of ``model``; None for nothing.

    Raises:
        DiffCDRError: the model has a sparse term, and no source ratings are given.
    """
    term = model.sparse_term()
    if term is None:
        return None
    if source is None:
        raise DiffCDRError(f"the {model.name} model scores by source histories too; give the source ratings")
    return sparse_part(term, source, held_out.source_rows)


def evaluate_sampled(
    model: TransferModel, held_out: HeldOut, *, negatives: int, seed: int, source: RatingTable | None = None
) -> SampledRanking:
    """Measure ``model``, fitted, on the cold-start users of ``held_out``, who have held-out ratings at least once.

    The negatives of a user follow from the seed and the user's row in the source domain alone, and are the same for
    every model.
    """
    with torch.no_grad():
        vectors = model.transfer(model.source_vectors()[held_out.source_rows]).numpy()
    ratings = held_out.ratings
    relevant = UserLists.build(ratings.users, ratings.items, n_users=len(vectors))
    ndcg, hr = sampled_metrics(
        vectors,
        model.head(),
        relevant,
        keys=held_out.source_rows.numpy(),
        negatives=negatives,
        seed=seed,
        sparse=part_of(model, held_out, source),
    )
    return SampledRanking(negatives, float(ndcg.mean()), float(hr.mean()))


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


def fit_complete_target(prepared: Prepared, run: Run) -> FactorTables:
    """A target base model fitted on all ratings, those of held-out users too: the vectors that they would have.

    To show in figures; no model may learn from it. It begins from the same random tables as the other.
    """
    table = all_ratings(prepared.pair.target)
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
    validation = evaluate(
        model, problem.validation, rating_range=run.rating_range, known=problem.target, source=problem.source
    )
    final = model
    if prepared.complete is not None and isinstance(model, TabularModel):
        final = model.refit(prepared.complete, generator=run.generator(name))
    return FittedModel(name, final, report, validation, judged=model)


def evaluate_test(fitted: FittedModel, prepared: Prepared, *, detailed: bool = False) -> Metrics:
    """The metrics on the test users. Call it once, after all choices; nothing may be chosen by the result."""
    problem = prepared.problem
    return evaluate(
        fitted.model,
        prepared.test,
        rating_range=problem.rating_range,
        known=problem.target,
        source=problem.source,
        detailed=detailed,
    )
