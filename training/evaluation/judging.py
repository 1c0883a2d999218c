"""The quality of a model on validation users, which models make their choices by."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffcdr.arrays import Float64Array
from diffcdr.search.sparse_part import SparsePart
from diffcdr.search.topk import TopK
from training.evaluation.ranking import UserLists, ranking_metrics
from training.problem import HeldOut, ScoringHead, rating_tensors

CUTOFFS = (20, 50, 100, 200)
USERS_AT_ONCE = 256


class Judge:
    """How good target vectors are on held-out users, as one number; higher is better.

    Where scores are ratings: the negative clipped RMSE. Elsewhere: the mean of NDCG@20, @50, @100 and @200, which
    ranks candidates as NDCG@20 does on average, and is less noisy with few users.
    """

    def __init__(self, held_out: HeldOut, *, head: ScoringHead, rating_range: tuple[float, float]) -> None:
        self._held_out, self._head, self._rating_range = held_out, head, rating_range
        ratings = held_out.ratings
        self._relevant = UserLists.build(ratings.users, ratings.items, n_users=len(held_out.source_rows))
        self._search = TopK(head.item_vectors.numpy(), head.item_biases.numpy(), offset=head.offset)

    @property
    def has_evidence(self) -> bool:
        """Whether there are held-out ratings. Without them, every candidate gets the same quality."""
        return len(self._held_out.ratings) > 0

    def __call__(self, vectors: Tensor, *, sparse: SparsePart | None = None) -> float:
        """Judge ``vectors`` [U, target_dim] of the held-out users, in their order.

        ``sparse``: what their histories add to the scores.
        """
        if not self.has_evidence:
            return 0.0
        if self._head.objective == "rating":
            errors = held_out_errors(
                vectors, self._held_out, head=self._head, rating_range=self._rating_range, sparse=sparse
            )
            return -errors["rmse"]
        lists, _ = self._search.search(vectors.float().numpy(), CUTOFFS[-1], sparse=sparse)
        return float(np.mean([ranking_metrics(lists[:, :k], self._relevant).ndcg.mean() for k in CUTOFFS]))


def list_qualities(scores: npt.NDArray[np.floating], relevant: UserLists) -> Float64Array:
    """The mean of NDCG@20, @50, @100 and @200 of each user with ``relevant`` items, by ``scores`` [U, n_items]."""
    length = min(CUTOFFS[-1], scores.shape[1])
    # In row order before the sort by score, so that equal scores keep it, as in the search that serves.
    wanted = np.negative(scores)
    found = np.sort(np.argpartition(wanted, length - 1, axis=1)[:, :length], axis=1)
    order = np.argsort(np.take_along_axis(wanted, found, axis=1), axis=1, kind="stable")
    lists = np.take_along_axis(found, order, axis=1)
    figures: Float64Array = np.mean([ranking_metrics(lists[:, :k], relevant).ndcg for k in CUTOFFS], axis=0)
    return figures


class ScoreJudge:
    """Like :class:`Judge` for lists, from scores in any form: for models that are exported after all choices."""

    def __init__(self, held_out: HeldOut) -> None:
        ratings = held_out.ratings
        self._relevant = UserLists.build(ratings.users, ratings.items, n_users=len(held_out.source_rows))

    def __call__(self, scores: Callable[[slice], Float64Array]) -> float:
        """Judge ``scores``: of the held-out users of a slice, [users, n_items]. 0 without held-out ratings."""
        if not len(self._relevant.items):
            return 0.0
        users = len(self._relevant.counts())
        parts = [slice(start, min(start + USERS_AT_ONCE, users)) for start in range(0, users, USERS_AT_ONCE)]
        return float(np.concatenate([list_qualities(scores(part), self._relevant.of(part)) for part in parts]).mean())


def held_out_figures(
    vectors: Tensor,
    held_out: HeldOut,
    *,
    head: ScoringHead,
    rating_range: tuple[float, float],
    sparse: SparsePart | None = None,
) -> dict[str, float]:
    """What to report of ``vectors`` [U, target_dim]: rating errors, or where scores are not ratings, the judgement."""
    if head.objective == "rating":
        return held_out_errors(vectors, held_out, head=head, rating_range=rating_range, sparse=sparse)
    return {"ndcg": Judge(held_out, head=head, rating_range=rating_range)(vectors, sparse=sparse)}


def epoch_figures(
    vectors: Tensor, held_out: HeldOut, *, head: ScoringHead, rating_range: tuple[float, float]
) -> dict[str, float]:
    """What to choose an epoch by: as :func:`held_out_figures`, empty where there are no held-out ratings."""
    if not len(held_out.ratings):
        return {}
    return held_out_figures(vectors, held_out, head=head, rating_range=rating_range)


def epoch_criterion(head: ScoringHead, select_by: str) -> str:
    """The figure of :func:`epoch_figures` to choose by: ``select_by`` of ratings, NDCG where scores are none."""
    return select_by if head.objective == "rating" else "ndcg"


def held_out_errors(
    vectors: Tensor,
    held_out: HeldOut,
    *,
    head: ScoringHead,
    rating_range: tuple[float, float],
    sparse: SparsePart | None = None,
) -> dict[str, float]:
    """RMSE and MAE over the held-out ratings, predictions clipped to ``rating_range``; empty without ratings.

    ``vectors`` [U, target_dim]: the target vectors of the held-out users, in their order.
    """
    ratings = held_out.ratings
    if not len(ratings):
        return {}
    with torch.no_grad():
        predicted = clipped_predictions(vectors, held_out, head=head, rating_range=rating_range, sparse=sparse)
        errors = predicted - rating_tensors(ratings).ratings
        return {"rmse": float(errors.double().square().mean().sqrt()), "mae": float(errors.double().abs().mean())}


def clipped_predictions(
    vectors: Tensor,
    held_out: HeldOut,
    *,
    head: ScoringHead,
    rating_range: tuple[float, float],
    sparse: SparsePart | None = None,
) -> Tensor:
    """Predicted ratings of the held-out pairs, [R], within ``rating_range``."""
    pairs = held_out.ratings
    columns = rating_tensors(pairs)
    users, items = columns.users, columns.items
    products = (vectors[users] * head.item_vectors[items]).sum(dim=1)
    predicted = head.offset + head.item_biases[items] + products
    if sparse is not None:
        predicted = predicted + torch.from_numpy(sparse.at(pairs.users, pairs.items)).to(predicted.dtype)
    return predicted.clamp(*rating_range)
