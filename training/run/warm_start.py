"""Warm start: how far target ratings move a user's transferred vector.

The rule is the one that serves (:class:`diffcdr.recommend.warm_start.Blend`); what is chosen here, on validation users
with half of their ratings known, is its strength, and whether the users of training are served with it too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffcdr.arrays import Float64Array, Int64Array
from diffcdr.bundle.manifest import WarmSpec
from diffcdr.recommend.warm_start import Blend
from diffcdr.search.sparse_part import SparsePart
from diffcdr.search.topk import MaskedRows
from training.base_models.half_step import prior_regularisation, ridge_vectors
from training.data.domains import DomainPair
from training.data.splits import ratings_of
from training.evaluation.evaluate import evaluate_vectors, predict
from training.models.contract import TransferModel
from training.models.sparse_term import sparse_part
from training.problem import HeldOut, ScoringHead, TransferProblem
from training.rating_table import RatingTable
from training.run.fit import FittedModel
from training.run.prepare import Prepared

COUNTS = (1, 2, 5, 10)
"""Numbers of known target ratings, besides all, that a strength is judged by."""
RATING_STRENGTHS = (300.0, 100.0, 30.0, 10.0, 3.0, 1.0)
"""To choose from, the most cautious first; in squared rating points."""
INTERACTION_STRENGTHS = (10.0, 3.0, 1.0, 0.3, 0.1)
"""The same, in mean eigenvalues of the items' scatter matrix."""


@dataclass(frozen=True)
class Halves:
    """The target ratings of some held-out users, in two halves; users are numbered as in the whole.

    ``turns`` int64: of each known rating, how many known ratings of its user came before.
    """

    source_rows: Tensor
    known: RatingTable
    judged: RatingTable
    turns: Int64Array

    def seen(self) -> MaskedRows:
        """The items of the known half, which are not listed again."""
        return MaskedRows(self.known.indptr(), self.known.items.astype(np.int32))

    def part(self, model: TransferModel, source: RatingTable) -> SparsePart | None:
        """What the users' histories in ``source`` add to the scores of ``model``."""
        return sparse_part(model.sparse_term(), source, self.source_rows)

    def first(self, count: int | None) -> RatingTable:
        """The first ``count`` known ratings of each user, or as many as there are; all of them for None."""
        return self.known if count is None else self.known.take(self.turns < count)


def halve(pair: DomainPair, users: Int64Array, held_out: HeldOut, *, seed: int) -> Halves:
    """Split each user's ratings: of n, the n // 2 rated first are known.

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
    owners = table.users
    order = np.lexsort((draw, times, owners))
    starts = np.searchsorted(owners, owners)  # of each rating, where its user's ratings begin
    counts = np.bincount(owners, minlength=table.n_users)
    turns = np.empty(len(owners), dtype=np.int64)
    turns[order] = np.arange(len(owners)) - starts
    known = turns < counts[owners] // 2
    return Halves(held_out.source_rows, table.take(known), table.take(~known), turns[known])


def warm_spec(model: TransferModel, problem: TransferProblem, *, strength: float) -> WarmSpec | None:
    """The rule for scores of the kind of ``model``, fitted to ``problem``; None where nothing can be moved.

    ``strength`` is in the units of :data:`RATING_STRENGTHS` or :data:`INTERACTION_STRENGTHS`.
    """
    head = model.head()
    if not head.item_vectors.any():
        return None
    if head.objective == "rating":
        return WarmSpec(kind="ridge", strength=strength)
    feedback = model.feedback(problem)
    if feedback is None:
        return None
    unit = float(head.item_vectors.double().square().sum()) / head.item_vectors.shape[1]
    return WarmSpec(kind="als", strength=strength * unit, confidence=feedback.confidence)


def choose_warm(fitted: FittedModel, prepared: Prepared, *, seed: int) -> WarmSpec | None:
    """The rule for ``fitted.model``, chosen with ``fitted.judged`` on validation users; None as in :func:`warm_spec`.

    The strength is the best on average with 1, 2, 5, 10 and all known ratings; of equals, the most cautious.
    ``stored`` is ``blended`` where that does better than the users' own vectors with all known ratings. A sparse term
    is kept unless one of the strengths does better without it.
    """
    judged, problem = fitted.judged, prepared.problem
    halves = halve(prepared.pair, prepared.split.validation, problem.validation, seed=seed)
    ranks = judged.head().objective == "ranking"
    specs = [
        (strength, spec)
        for strength in (INTERACTION_STRENGTHS if ranks else RATING_STRENGTHS)
        if (spec := warm_spec(judged, problem, strength=strength)) is not None
    ]
    if not specs:
        return None

    def cost(vectors: Float64Array, part: SparsePart | None) -> float:
        return _cost(vectors, judged, halves, part, rating_range=problem.rating_range)

    part = halves.part(judged, problem.source)
    parts = [part] if part is None else [part, None]
    moved = [[adapt(judged, halves, spec, count=count) for count in (*COUNTS, None)] for _, spec in specs]
    choices = [(strength, kept) for kept in range(len(parts)) for strength in range(len(specs))]
    costs = [[cost(vectors, parts[kept]) for vectors in moved[strength]] for strength, kept in choices]
    best = int(np.argmin([sum(each) for each in costs]))
    strength, kept = choices[best]
    own = cost(own_vectors(judged, problem, halves.known), parts[kept])
    stored = "blended" if costs[best][-1] < own else "own"
    spec = warm_spec(fitted.model, prepared.final(fitted.model), strength=specs[strength][0])
    return None if spec is None else spec.model_copy(update={"stored": stored, "sparse": kept == 0})


def adapt(model: TransferModel, halves: Halves, spec: WarmSpec | None, *, count: int | None = None) -> Float64Array:
    """Target vectors of the users of ``halves``, float64 [U, d], moved by their first ``count`` known ratings."""
    with torch.no_grad():
        carried = model.transfer(model.source_vectors()[halves.source_rows]).numpy().astype(np.float64)
    return carried if spec is None else blended(model.head(), spec, carried, halves.first(count))


def blended(head: ScoringHead, spec: WarmSpec, start: npt.NDArray[np.floating], ratings: RatingTable) -> Float64Array:
    """Each row of ``start`` [U, d] moved by the ratings of the user of that number; float64 [U, d]."""
    blend = Blend(spec, head.item_vectors.numpy(), head.item_biases.numpy(), offset=head.offset)
    items, values = ratings.items, ratings.values
    indptr = np.searchsorted(ratings.users, np.arange(len(start) + 1))
    moved = start.astype(np.float64)
    for user in np.flatnonzero(np.diff(indptr)).tolist():
        mine = slice(indptr[user], indptr[user + 1])
        moved[user] = blend(start[user], items[mine], values[mine])
    return moved


def own_vectors(model: TransferModel, problem: TransferProblem, ratings: RatingTable) -> Float64Array:
    """Target vectors by ``ratings`` alone, float64 [n_users, d]: what the base model's half-step makes of them.

    Ratings: ridge solutions, regularised as the transferred vectors of the training overlap users suggest.
    """
    head, feedback = model.head(), model.feedback(problem)
    if head.objective == "ranking" and feedback is not None:
        spec = WarmSpec(kind="als", strength=feedback.regularisation, confidence=feedback.confidence)
        return blended(head, spec, np.zeros((ratings.n_users, head.item_vectors.shape[1])), ratings)
    with torch.no_grad():
        carried = model.transfer(model.source_vectors()[problem.overlap_source]).numpy()
    vectors = np.zeros((problem.target.n_users, carried.shape[1]), dtype=np.float32)
    vectors[problem.overlap_target.numpy()] = carried
    return ridge_vectors(ratings, head, prior_regularisation(vectors, head, problem.target))


def stored_vectors(
    model: TransferModel, problem: TransferProblem, rows: Int64Array, *, spec: WarmSpec | None
) -> npt.NDArray[np.float32]:
    """Target vectors of the users with target training ratings: float32 [len(rows), target_dim].

    The target base model's own where ``model`` scores with that model's items, elsewhere :func:`own_vectors`; and
    with ``spec.stored`` ``blended``, of the training overlap users, the transferred vector moved by their ratings.
    """
    base, head = problem.target_base, model.head()
    if torch.equal(head.item_vectors, base.item_vectors) and torch.equal(head.item_biases, base.item_biases):
        vectors = base.user_vectors.numpy().astype(np.float32)
    else:
        vectors = own_vectors(model, problem, problem.target).astype(np.float32)
    overlap = problem.overlap_target.numpy()
    return _as_stored(vectors, model, spec, users=overlap, source_rows=problem.overlap_source, ratings=problem.target)[
        rows
    ]


def late_vectors(
    model: TransferModel, problem: TransferProblem, pair: DomainPair, rows: Int64Array, *, spec: WarmSpec | None
) -> npt.NDArray[np.float32]:
    """As :func:`stored_vectors`, of users with no target rating that ``model`` was fitted to: [len(rows), target_dim].

    ``rows``: of target users of ``pair``, ascending.
    """
    ratings = ratings_of(pair.target, rows)
    vectors = own_vectors(model, problem, ratings).astype(np.float32)
    _, users, shared = np.intersect1d(rows, pair.overlap_target, assume_unique=True, return_indices=True)
    source_rows = torch.from_numpy(pair.overlap_source[shared])
    return _as_stored(vectors, model, spec, users=users, source_rows=source_rows, ratings=ratings)


def _as_stored(
    vectors: npt.NDArray[np.float32],
    model: TransferModel,
    spec: WarmSpec | None,
    *,
    users: Int64Array,
    source_rows: Tensor,
    ratings: RatingTable,
) -> npt.NDArray[np.float32]:
    """``vectors`` [n, d] of the users of ``ratings``, changed where ``spec.stored`` is ``blended``.

    Then those of ``users``, who are ``source_rows`` in the source, are the transferred ones moved by their ratings.
    """
    if spec is not None and spec.stored == "blended":
        start = vectors.astype(np.float64)
        with torch.no_grad():
            start[users] = model.transfer(model.source_vectors()[source_rows]).numpy()
        mine = ratings.take(np.isin(ratings.users, users))
        vectors[users] = blended(model.head(), spec, start, mine)[users]
    return vectors


def _cost(
    vectors: Float64Array,
    model: TransferModel,
    halves: Halves,
    part: SparsePart | None,
    *,
    rating_range: tuple[float, float],
) -> float:
    head, judged = model.head(), halves.judged
    if not len(judged):
        return 0.0
    if head.objective == "rating":
        predictions = np.clip(predict(vectors, head, judged, sparse=part), *rating_range)
        return float(np.square(predictions - judged.ratings).mean())
    given = vectors.astype(np.float32)
    return -evaluate_vectors(
        given, head, judged, name=model.name, rating_range=rating_range, seen=halves.seen(), sparse=part
    ).ndcg
