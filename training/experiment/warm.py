"""The warm-start scenario: half of each test user's target ratings are known, the other half is predicted.

The paper (Section 4.1) fine-tunes on the half rated first. Here the user's transferred vector u0 is moved towards the
known half in closed form, to where fine-tuning that vector alone, with weight decay towards u0, would end:

    argmin_u  (the base model's squared error on the known half)  +  strength |u - u0|^2

The strength, or to stay at u0, is chosen on the validation users, whose ratings are halved in the same way. Items stay
as they are, so one user's known half changes no other user's result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffcdr.topk import MaskedRows
from training.data.domains import DomainPair
from training.data.splits import Indices
from training.evaluation.evaluate import Metrics, evaluate_vectors, predict
from training.models.base import (
    HeldOut,
    ImplicitFeedback,
    RatingTable,
    ScoringHead,
    TransferModel,
    TransferProblem,
)
from training.pipeline import FittedModel, Prepared
from training.ridge import ridge_vectors

STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
"""Chosen from, beside not moving at all; in squared rating units, or mean eigenvalues of the items' scatter matrix."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Halves:
    """The target ratings of some held-out users, apart; in both, user 0..U-1 is the same as in the whole."""

    source_rows: Tensor
    known: RatingTable
    judged: RatingTable

    def seen(self) -> MaskedRows:
        """The items of the known half, which are not listed again."""
        indptr = np.searchsorted(self.known.users.numpy(), np.arange(self.known.n_users + 1))
        return MaskedRows(indptr.astype(np.int64), self.known.items.numpy().astype(np.int32))


def halve(pair: DomainPair, users: Indices, held_out: HeldOut, *, seed: int) -> Halves:
    """Divide each user's ratings: of n, the n // 2 rated first are known.

    Where the target file has no times, and between equal times, a draw by ``seed`` decides.

    Args:
        pair: where ``held_out`` comes from.
        users: positions in the overlap order, ascending: ``Split.test`` or ``Split.validation``.
        held_out: their ratings.
        seed: of the split.
    """
    target = pair.target
    mine = np.isin(target.user_rows, pair.overlap_target[users])
    # Drawn for all ratings there are, so that a rating's place does not hang on who else is held out.
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=tuple(b"warm"))
    draw = np.random.default_rng(sequence).random(len(mine))[mine]
    times = np.zeros(len(draw), dtype=np.int64) if target.timestamps is None else target.timestamps[mine]
    table = held_out.ratings
    owners = table.users.numpy()
    order = np.lexsort((draw, times, owners))
    starts = np.searchsorted(owners, owners)  # of each rating, where its user's ratings begin
    counts = np.bincount(owners, minlength=table.n_users)
    known = np.zeros(len(owners), dtype=bool)
    known[order] = np.arange(len(owners)) - starts < counts[owners] // 2
    return Halves(held_out.source_rows, _part(table, known), _part(table, ~known))


def warm_metrics(fitted: FittedModel, prepared: Prepared, *, seed: int) -> Metrics:
    """Figures of a model on the judged half of the test users' ratings, with the known half used."""
    split, model, final = prepared.split, fitted.model, prepared.final(fitted.model)
    validation = halve(prepared.pair, split.validation, prepared.problem.validation, seed=seed)
    strength = _choose(fitted.judged, prepared.problem, validation)
    test = halve(prepared.pair, split.test, prepared.test, seed=seed)
    return _evaluate(_adapt(model, final, test, strength), model, test, rating_range=final.rating_range)


def _choose(model: TransferModel, problem: TransferProblem, halves: Halves) -> float | None:
    """The strength with the best figure on ``halves``; None for no move. Ties: the smallest move."""

    def cost(strength: float | None) -> float:
        vectors = _adapt(model, problem, halves, strength)
        if model.head().objective == "rating":
            error = np.clip(predict(vectors, model.head(), halves.judged), *problem.rating_range)
            return float(np.square(error - halves.judged.ratings.numpy()).mean())
        return -_evaluate(vectors, model, halves, rating_range=problem.rating_range).ndcg

    movers = STRENGTHS[::-1] if _solver(model.head(), problem) is not None else ()
    choices: tuple[float | None, ...] = (None, *movers)
    return min(choices, key=cost)


def _adapt(model: TransferModel, problem: TransferProblem, halves: Halves, strength: float | None) -> Floats:
    """Target vectors of the users of ``halves``, float64 [U, d], moved towards their known ratings."""
    with torch.no_grad():
        carried = model.transfer(model.source_vectors()[halves.source_rows]).numpy().astype(np.float64)
    solver = _solver(model.head(), problem)
    return carried if strength is None or solver is None else carried + solver(halves.known, carried, strength)


def _solver(head: ScoringHead, problem: TransferProblem) -> Callable[[RatingTable, Floats, float], Floats] | None:
    """(known ratings, u0, strength) -> u - u0 for scores of the kind of ``head``; None where nothing can be solved."""
    if head.objective == "rating":
        return lambda known, carried, strength: _rating_step(head, known, carried, strength)
    feedback = problem.target_base.feedback
    if feedback is None or not torch.equal(head.item_vectors, problem.target_base.item_vectors):
        return None
    return lambda known, carried, strength: _interaction_step(head, feedback, known, carried, strength)


def _rating_step(head: ScoringHead, known: RatingTable, carried: Floats, strength: float) -> Floats:
    # What u0 leaves unexplained, as ratings of a model that begins at zero.
    rest = known.ratings.numpy() - predict(carried, head, known)
    flat = ScoringHead(head.item_vectors, torch.zeros_like(head.item_biases), 0.0)
    table = RatingTable(known.users, known.items, torch.from_numpy(rest), known.n_users, known.n_items)
    return ridge_vectors(table, flat, np.full(carried.shape[1], strength))


def _interaction_step(
    head: ScoringHead, feedback: ImplicitFeedback, known: RatingTable, carried: Floats, strength: float
) -> Floats:
    items = head.item_vectors.numpy().astype(np.float64)
    gram = items.T @ items
    ridge = strength * np.trace(gram) / len(gram) * np.eye(len(gram))
    indptr = np.searchsorted(known.users.numpy(), np.arange(known.n_users + 1))
    moves = np.zeros_like(carried)
    for user, (start, stop) in enumerate(zip(indptr[:-1], indptr[1:], strict=True)):
        if start < stop:
            mine = items[known.items.numpy()[start:stop]]
            curvature = gram + (feedback.confidence - 1.0) * (mine.T @ mine)
            pull = feedback.confidence * mine.sum(axis=0) - curvature @ carried[user]
            moves[user] = np.linalg.solve(curvature + ridge, pull)
    return moves


def _evaluate(vectors: Floats, model: TransferModel, halves: Halves, *, rating_range: tuple[float, float]) -> Metrics:
    given = vectors.astype(np.float32)
    return evaluate_vectors(
        given, model.head(), halves.judged, name=model.name, rating_range=rating_range, seen=halves.seen()
    )


def _part(table: RatingTable, keep: npt.NDArray[np.bool_]) -> RatingTable:
    rows = torch.from_numpy(np.flatnonzero(keep))
    return RatingTable(table.users[rows], table.items[rows], table.ratings[rows], table.n_users, table.n_items)
