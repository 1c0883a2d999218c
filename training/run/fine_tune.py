"""The paper's warm start (section 4.1): models trained for cold users go on training on what warm users have rated.

Half of each held-out user's target ratings are known, as in :func:`training.run.warm_start.halve`. A fitted model
trains further on the known halves of the validation and test users, and the epoch that is kept is the one best on the
other half of the validation users' ratings. Nothing else is learnt from, and the judged halves teach nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from diffcdr.bundle.manifest import WarmSpec
from training.base_models.half_step import prior_regularisation, ridge_vectors
from training.base_models.unrated import drawn_zeros, joined
from training.evaluation.evaluate import Metrics, evaluate_vectors
from training.fitting.loop import FitReport
from training.problem import FactorTables, HeldOut, TransferProblem
from training.rating_table import RatingTable
from training.run.fit import FittedModel
from training.run.prepare import Prepared
from training.run.run import step_generator
from training.run.warm_start import Halves, blended, halve


@dataclass(frozen=True)
class FineTuned:
    """``metrics``: on the judged half of the test users' ratings; ``report``: of the training that went on."""

    metrics: Metrics
    report: FitReport


def fine_tune(fitted: FittedModel, prepared: Prepared, *, seed: int, negatives: int = 0) -> FineTuned | None:
    """Train ``fitted`` further, and measure it; None for a model without epochs, and where nobody's ratings are known.

    ``negatives``: zeros drawn for each rating, as in the training before.

    Raises:
        InputError: the model cannot learn from so little, or its training diverges.
    """
    problem, test = warm_problem(prepared, seed=seed, negatives=negatives)
    if not len(problem.overlap_target):
        return None
    tuned = fitted.model.fine_tuned(problem, generator=step_generator(seed, f"fine-tune {fitted.name}"))
    if tuned is None:
        return None
    model, report = tuned
    with torch.no_grad():
        vectors = model.transfer(model.source_vectors()[test.source_rows]).numpy()
    metrics = evaluate_vectors(
        vectors,
        model.head(),
        test.judged,
        name=model.name,
        rating_range=problem.rating_range,
        seen=test.seen(),
        known=prepared.problem.target,
        sparse=test.part(model, problem.source),
    )
    return FineTuned(metrics, report)


def warm_problem(prepared: Prepared, *, seed: int, negatives: int = 0) -> tuple[TransferProblem, Halves]:
    """What there is to learn from warm users, and the test users' halves.

    Overlap users are the validation and test users with known ratings, whose target vectors are what the base model
    makes of these; target ratings are the known ones alone, with ``negatives`` zeros drawn for each. Validation: the
    validation users' judged halves.
    """
    pair, split, problem = prepared.pair, prepared.split, prepared.problem
    validation = halve(pair, split.validation, problem.validation, seed=seed)
    test = halve(pair, split.test, prepared.test, seed=seed)
    groups = ((split.validation, validation.known), (split.test, test.known))
    overlap = np.concatenate([users[np.unique(known.users)] for users, known in groups])
    owners = np.concatenate([pair.overlap_target[users][known.users] for users, known in groups])
    items, ratings = (np.concatenate([getattr(known, name) for _, known in groups]) for name in ("items", "ratings"))
    order = np.lexsort((items, owners))
    target = problem.target
    table = RatingTable(owners[order], items[order], ratings[order], target.n_users, target.n_items)
    base = problem.target_base
    vectors = base.user_vectors.clone()
    rows = torch.from_numpy(np.unique(owners))
    zeros = None
    if negatives:
        zeros = drawn_zeros(table, per_rating=negatives, generator=step_generator(seed, "negatives-warm"))
    learnt = joined(target, problem.target_zeros)
    vectors[rows] = _own_vectors(base, known=joined(table, zeros), learnt=learnt)[rows]
    return (
        replace(
            problem,
            target=table,
            target_zeros=zeros,
            target_base=replace(base, user_vectors=vectors),
            overlap_source=torch.from_numpy(pair.overlap_source[np.sort(overlap)]),
            overlap_target=torch.from_numpy(pair.overlap_target[np.sort(overlap)]),
            validation=HeldOut(validation.source_rows, validation.judged),
        ),
        test,
    )


def _own_vectors(base: FactorTables, *, known: RatingTable, learnt: RatingTable) -> torch.Tensor:
    """The half-step of ``base``, which has ``learnt`` from others, for the users of ``known``: float32 [n_users, k]."""
    head, feedback = base.head(), base.feedback
    if feedback is None:
        regularisation = prior_regularisation(base.user_vectors.numpy(), head, learnt)
        return torch.from_numpy(ridge_vectors(known, head, regularisation)).float()
    spec = WarmSpec(kind="als", strength=feedback.regularisation, confidence=feedback.confidence)
    return torch.from_numpy(blended(head, spec, np.zeros((known.n_users, base.dim)), known)).float()
