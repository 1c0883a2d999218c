"""What models learn from: the ratings of two domains, their base models, and the users held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy.typing as npt
import torch
from torch import Tensor

from diffcdr.arrays import Int64Array
from diffcdr.bundle.ids import IdArray
from training.rating_table import RatingTable

Objective = Literal["rating", "ranking"]
"""What a score is: a predicted rating, or a number whose order alone has a meaning."""


@dataclass(frozen=True)
class RatingTensors:
    """The columns of a :class:`RatingTable` as tensors: ``users``, ``items`` int64 [R]; ``ratings`` float32 [R]."""

    users: Tensor
    items: Tensor
    ratings: Tensor

    def all(self) -> list[Tensor]:
        """The three columns."""
        return [self.users, self.items, self.ratings]


@dataclass(frozen=True)
class ImplicitFeedback:
    """The half-step of implicit-feedback ALS: argmin_u  sum_all_items c (p - v.u)^2 + regularisation |u|^2.

    On the user's items p = 1 and c = ``confidence``; elsewhere p = 0 and c = 1.
    """

    confidence: float
    regularisation: float


@dataclass(frozen=True)
class FactorTables:
    """One domain's base model: rating(u, j) ~ offset + item_biases[j] + item_vectors[j] . user_vectors[u].

    ``user_vectors`` [n_users, k], ``item_vectors`` [n_items, k], ``item_biases`` [n_items], all float32.
    A user bias, where a base model has one, is one more dimension whose item entry is 1.
    ``feedback``: None for a model of ratings. Otherwise the tables model interactions, and the user vectors are the
    half-step it describes against the item vectors.
    ``with_zeros``: ratings of 0 were added for what users have not rated, so that scores order items, no more.
    """

    user_vectors: Tensor
    item_vectors: Tensor
    item_biases: Tensor
    offset: float
    feedback: ImplicitFeedback | None = None
    with_zeros: bool = False

    @property
    def dim(self) -> int:
        """k."""
        return int(self.item_vectors.shape[1])

    def head(self) -> ScoringHead:
        """The item side, to score user vectors with."""
        objective: Objective = "rating" if self.feedback is None and not self.with_zeros else "ranking"
        return ScoringHead(self.item_vectors, self.item_biases, self.offset, objective)


@dataclass(frozen=True)
class HeldOut:
    """Users whose target ratings no model may learn from: validation users (for choices) or test users.

    ``source_rows`` int64 [U]: their rows in the source domain; ``ratings.users`` index 0..U-1.
    """

    source_rows: Tensor
    ratings: RatingTable


@dataclass(frozen=True)
class TransferProblem:
    """Everything a model may look at while it trains.

    ``source`` / ``target``: all ratings of the domain less the held-out users' target ratings.
    ``overlap_source`` / ``overlap_target``: int64 [O], rows of the training overlap users in each domain.
    ``rating_range``: (lowest, highest) rating of the target domain; ``source_range``: of the source, None for the same.
    ``source_times``: int64 [R], when each rating of ``source`` was given; None where that is not known of all.
    ``source_ids``: ids of the source users, UTF-8, in the order of their rows; for models that draw by user.
    ``source_zeros`` / ``target_zeros``: ratings of 0 to learn from besides, of pairs that are in neither table; None
    where there are none.
    """

    source: RatingTable
    target: RatingTable
    source_base: FactorTables
    target_base: FactorTables
    overlap_source: Tensor
    overlap_target: Tensor
    validation: HeldOut
    rating_range: tuple[float, float]
    source_range: tuple[float, float] | None = None
    source_times: Int64Array | None = None
    source_ids: IdArray | None = None
    source_zeros: RatingTable | None = None
    target_zeros: RatingTable | None = None


@dataclass(frozen=True)
class ScoringHead:
    """The item side that a model's target vectors are scored with, and what the scores are."""

    item_vectors: Tensor
    item_biases: Tensor
    offset: float
    objective: Objective = "rating"


def rating_tensors(table: RatingTable) -> RatingTensors:
    """The columns of ``table`` as tensors, each as by :func:`column_tensor`."""
    return RatingTensors(column_tensor(table.users), column_tensor(table.items), column_tensor(table.ratings))


def column_tensor(column: npt.NDArray[Any]) -> Tensor:
    """``column`` as a tensor; it shares memory that may be written to, such as mapped tables, and copies other."""
    return torch.from_numpy(column) if column.flags.writeable else torch.tensor(column)
