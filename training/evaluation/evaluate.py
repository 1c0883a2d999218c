"""One model on one set of held-out users: every metric, on the same ratings and the same candidates."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from diffcdr.errors import InputError
from diffcdr.search.sparse_part import SparsePart
from diffcdr.search.topk import MaskedRows, TopK
from training.evaluation.beyond import BeyondAccuracy, beyond_accuracy
from training.evaluation.detail import LONGEST, CalibrationBin, Detail, calibration_bins, detail
from training.evaluation.ranking import IntArray, UserLists, ranking_metrics
from training.evaluation.ratings import RatingMetrics, rating_metrics
from training.evaluation.uncertainty import RatingErrors, StandardErrors, standard_errors
from training.problem import ScoringHead
from training.rating_table import RatingTable

PAIRS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Accuracy:
    """Figures of accuracy: :mod:`training.evaluation.ratings` and :mod:`training.evaluation.ranking` define them.

    ``mae`` to ``rmse_clipped`` are pooled over held-out ratings, and None for a model whose scores are not ratings;
    ``ndcg``, ``hr`` and ``recall`` are over all target items, averaged over held-out users.
    """

    mae: float | None
    rmse: float | None
    mae_clipped: float | None
    rmse_clipped: float | None
    ndcg: float
    hr: float
    recall: float

    def accuracy(self) -> dict[str, Any]:
        """The fields of this class alone, by name."""
        return {each.name: getattr(self, each.name) for each in fields(Accuracy)}


@dataclass(frozen=True)
class Metrics(Accuracy):
    """All figures of a model on ``users`` held-out users (those with held-out ratings) with ``ratings`` ratings.

    Lists are of length ``k``. ``beyond``: what they are like besides accurate (:mod:`training.evaluation.beyond`),
    where it was measured. ``detail``: other cutoffs and groups of users and items (:mod:`training.evaluation.detail`),
    where asked for.
    ``standard_errors``: of the figures of accuracy, over these users; None of a single user. ``ndcg_by_user`` [users]:
    for paired differences.
    """

    k: int
    users: int
    ratings: int
    beyond: BeyondAccuracy | None = None
    detail: Detail | None = None
    standard_errors: StandardErrors | None = None
    ndcg_by_user: npt.NDArray[np.float64] | None = field(default=None, compare=False, repr=False)

    def as_dict(self) -> dict[str, float]:
        """The figures there are, by their public names: ``mae``, …, ``ndcg@20``, …, ``coverage@20``, …."""
        figures = _named(self, k=self.k)
        if self.beyond is not None:
            figures |= {f"{name}@{self.k}": value for name, value in asdict(self.beyond).items()}
        return figures

    def errors_as_dict(self) -> dict[str, float]:
        """The standard errors there are, by the names of their figures."""
        return {} if self.standard_errors is None else _named(self.standard_errors, k=self.k)


def _named(figures: Metrics | StandardErrors, *, k: int) -> dict[str, float]:
    named = {
        "mae": figures.mae,
        "rmse": figures.rmse,
        "mae_clipped": figures.mae_clipped,
        "rmse_clipped": figures.rmse_clipped,
        f"ndcg@{k}": figures.ndcg,
        f"hr@{k}": figures.hr,
        f"recall@{k}": figures.recall,
    }
    return {name: value for name, value in named.items() if value is not None}


def evaluate_vectors(  # noqa: PLR0913 - all that a score and a list depend on
    vectors: npt.NDArray[np.float32],
    head: ScoringHead,
    ratings: RatingTable,
    *,
    name: str,
    rating_range: tuple[float, float],
    k: int = 20,
    seen: MaskedRows | None = None,
    known: RatingTable | None = None,
    sparse: SparsePart | None = None,
    lengths: IntArray | None = None,
) -> Metrics:
    """Measure target vectors of held-out users.

    Args:
        vectors: float32 [U, target_dim].
        head: the items they are scored with.
        ratings: the target ratings the users are judged by; ``ratings.users`` are rows of ``vectors``.
        name: of the model that the vectors come from, for messages.
        rating_range: (lowest, highest) rating of the target domain.
        k: length of the ranked lists.
        seen: target items each user has in training, never listed; None for cold-start users.
        known: the target training ratings, for the figures beyond accuracy; without it they are left out.
        sparse: what the users' histories add to the scores.
        lengths: ratings in the source history of each user, [U]; with them and ``known``, the metrics have ``detail``.

    Raises:
        InputError: no held-out ratings, or vectors or predictions that are not finite.
    """
    if not np.isfinite(vectors).all():
        raise InputError(f"the {name} model gives vectors that are not finite: its training diverged; lower its lr")
    errors: dict[str, float | None] = dict.fromkeys(each.name for each in fields(RatingMetrics))
    by_rating = None
    bins: tuple[CalibrationBin, ...] = ()
    if head.objective == "rating":
        actual = ratings.values
        predicted = predict(vectors, head, ratings, sparse=sparse)
        errors |= asdict(rating_metrics(predicted, actual, rating_range=rating_range))
        clipped = np.clip(predicted, *rating_range)
        bins = calibration_bins(clipped, actual)
        by_rating = RatingErrors(ratings.users, raw=predicted - actual, clipped=clipped - actual)
    relevant = UserLists.build(ratings.users, ratings.items, n_users=len(vectors))
    # The very search that serves: a list is judged as users get it, equal scores by item row.
    search = TopK(head.item_vectors.numpy(), head.item_biases.numpy(), offset=head.offset)
    longest = k if lengths is None else max(k, LONGEST)
    found, _ = search.search(vectors, longest, masked=seen, sparse=sparse)
    lists = found[:, :k]
    ranking = ranking_metrics(lists, relevant)
    detailed = None
    if lengths is not None and known is not None:
        detailed = detail(found, relevant, lengths=lengths, known=known, calibration=bins)
    return Metrics(
        **errors,
        ndcg=float(ranking.ndcg.mean()),
        hr=float(ranking.hr.mean()),
        recall=float(ranking.recall.mean()),
        k=k,
        users=len(ranking.ndcg),
        ratings=len(ratings),
        beyond=None if known is None else beyond_accuracy(lists[relevant.counts() > 0], known),
        detail=detailed,
        standard_errors=standard_errors(ranking, by_rating),
        ndcg_by_user=ranking.ndcg,
    )


def predict(
    vectors: npt.NDArray[np.floating], head: ScoringHead, pairs: RatingTable, *, sparse: SparsePart | None = None
) -> npt.NDArray[np.float64]:
    """Predicted rating, float64 [R], of each pair in ``pairs``; ``pairs.users`` index rows of ``vectors`` [U, d].

    ``sparse``: what the histories of these users add.
    """
    users, items = pairs.users, pairs.items
    item_vectors, biases = head.item_vectors.numpy(), head.item_biases.numpy()
    predicted = np.empty(len(users), dtype=np.float64)
    for start in range(0, len(users), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        left = vectors[users[part]].astype(np.float64)
        predicted[part] = np.einsum("rd,rd->r", left, item_vectors[items[part]]) + biases[items[part]] + head.offset
    return predicted if sparse is None else predicted + sparse.at(users, items)
