"""The warm-start scenario: half of each test user's target ratings are known, the other half is predicted.

Two ways. In closed form, as in serving (:mod:`training.run.warm_start`): the user's transferred vector is moved towards
the known half, to where fine-tuning that vector alone, with weight decay towards where it came from, would end. Items
stay as they are, so one user's known half changes no other user's result. And as the paper has it (Section 4.1): the
model trains further on the known halves (:mod:`training.run.fine_tune`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.evaluation.evaluate import Accuracy, Metrics, evaluate_vectors
from training.run.fine_tune import fine_tune
from training.run.fit import FittedModel
from training.run.prepare import Prepared
from training.run.warm_start import COUNTS, adapt, choose_warm, halve


@dataclass(frozen=True)
class WarmPoint:
    """Figures with the first ``known`` target ratings of each test user, judged on the same ratings for any number."""

    known: int
    ndcg: float
    rmse_clipped: float | None


@dataclass(frozen=True)
class FineTunedFigures(Accuracy):
    """Figures of a model that was trained further, as of the warm scenario; ``best_epoch``: of the further ones."""

    best_epoch: int


@dataclass(frozen=True)
class WarmFigures:
    """``metrics``: with the whole known half. ``points``: with none of it and with its first few."""

    metrics: Metrics
    points: tuple[WarmPoint, ...]


def warm_figures(fitted: FittedModel, prepared: Prepared, *, seed: int) -> WarmFigures:
    """Figures of a model on the judged half of the test users' ratings. Chosen on the validation users before."""
    spec = choose_warm(fitted, prepared, seed=seed)
    model, limits = fitted.model, prepared.problem.rating_range
    test = halve(prepared.pair, prepared.split.test, prepared.test, seed=seed)
    part = test.part(model, prepared.problem.source)
    kept = part if spec is None or spec.sparse else None

    def measure(count: int | None) -> Metrics:
        vectors = adapt(model, test, spec, count=count).astype(np.float32)
        return evaluate_vectors(
            vectors,
            model.head(),
            test.judged,
            name=model.name,
            rating_range=limits,
            seen=test.seen(),
            known=prepared.problem.target if count is None else None,
            sparse=part if count == 0 else kept,
        )

    measured = {count: measure(count) for count in (0, *COUNTS)}
    points = tuple(WarmPoint(count, each.ndcg, each.rmse_clipped) for count, each in measured.items())
    return WarmFigures(measure(None), points)


def fine_tuned_figures(
    fitted: FittedModel, prepared: Prepared, *, seed: int, negatives: int = 0
) -> FineTunedFigures | None:
    """The same judged half, after training further on the known one; None for a model without epochs."""
    tuned = fine_tune(fitted, prepared, seed=seed, negatives=negatives)
    if tuned is None:
        return None
    return FineTunedFigures(**tuned.metrics.accuracy(), best_epoch=tuned.report.best_epoch)
