"""What every model learns from, and what every model must offer: the one contract of training.

A model is trained on two frozen base models (one per domain) and the training overlap users. It carries source
vectors into the target space and scores items there by ``offset + biases[j] + vectors[j] . target_vector``.
Models with other needs (a bias model, the popular list) fit the same form with tables of their own, so that
evaluation, export and serving know a single shape.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import torch
from torch import Tensor

from diffcdr.bundle.manifest import FoldInSpec
from diffcdr.errors import DiffCDRError
from training.fitting.checkpoint import CheckpointFile
from training.models.history import HistoryMap

T = TypeVar("T")

Objective = Literal["rating", "ranking"]
"""What a score is: a predicted rating, or a number whose order alone has a meaning."""


@dataclass(frozen=True)
class RatingTable:
    """Ratings as parallel columns, ordered by (user, item).

    ``users``, ``items``: int64 [R]; ``ratings``: float32 [R].
    """

    users: Tensor
    items: Tensor
    ratings: Tensor
    n_users: int
    n_items: int

    def __len__(self) -> int:
        return len(self.ratings)


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
    """

    user_vectors: Tensor
    item_vectors: Tensor
    item_biases: Tensor
    offset: float
    feedback: ImplicitFeedback | None = None

    @property
    def dim(self) -> int:
        """k."""
        return int(self.item_vectors.shape[1])

    def head(self) -> ScoringHead:
        """The item side, to score user vectors with."""
        objective: Objective = "rating" if self.feedback is None else "ranking"
        return ScoringHead(self.item_vectors, self.item_biases, self.offset, objective)


@dataclass(frozen=True)
class SourceFold:
    """A fold-in rule of a model's own: the tables that ``spec`` speaks of, ``item_vectors`` [m, k] and the rest [m]."""

    spec: FoldInSpec
    item_vectors: Tensor
    item_biases: Tensor
    level_biases: Tensor | None = None


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
    ``rating_range``: (lowest, highest) rating of the target domain.
    """

    source: RatingTable
    target: RatingTable
    source_base: FactorTables
    target_base: FactorTables
    overlap_source: Tensor
    overlap_target: Tensor
    validation: HeldOut
    rating_range: tuple[float, float]


@dataclass(frozen=True)
class ScoringHead:
    """The item side that a model's target vectors are scored with, and what the scores are."""

    item_vectors: Tensor
    item_biases: Tensor
    offset: float
    objective: Objective = "rating"


class Progress(Protocol):
    """Told after each epoch; ``figures`` are losses and validation metrics."""

    def __call__(self, *, epoch: int, epochs: int, rows: int, figures: dict[str, float]) -> None:
        """``epoch`` of ``epochs`` is done (from 1); it went through ``rows`` rows."""


@dataclass
class FitReport:
    """What training did: one dictionary of figures per epoch, the epoch kept, rows and seconds."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    rows: int = 0
    seconds: float = 0.0


class TransferModel(ABC):
    """A way to carry users from the source domain to the target domain."""

    name: ClassVar[str]

    @abstractmethod
    def fit(
        self,
        problem: TransferProblem,
        *,
        generator: torch.Generator,
        progress: Progress | None = None,
        checkpoint: CheckpointFile | None = None,
    ) -> FitReport:
        """Learn from ``problem``; draw randomness from ``generator`` alone; choose on ``problem.validation`` alone.

        ``checkpoint``: written after each epoch and resumed from, by models that train in epochs.

        Raises:
            InputError: ``problem`` cannot be learnt from, or ``checkpoint`` belongs to another run.
        """

    @abstractmethod
    def source_vectors(self) -> Tensor:
        """float32 [n_source_users, source_dim]: what :meth:`transfer` takes, for every source user."""

    @abstractmethod
    def transfer(self, vectors: Tensor) -> Tensor:
        """float [B, source_dim] -> float [B, target_dim]; keeps the dtype; a row's result depends on that row only."""

    @abstractmethod
    def head(self) -> ScoringHead:
        """The item tables to score target vectors with."""

    def fold(self) -> tuple[Tensor, Tensor] | None:
        """(A [source_dim, target_dim], b [target_dim]) in float64 with transfer(x) = x A + b, or None if not affine."""
        return None

    def export_module(self) -> torch.nn.Module | None:
        """A module ``forward(source [B, source_dim]) -> [B, target_dim]`` to export; None for a plain table map."""
        return None

    def source_fold(self) -> SourceFold | None:
        """How source vectors follow from ratings, where they are not the base model's; None where that is unknown."""
        return None

    def source_history(self) -> HistoryMap | None:
        """The history features that :meth:`source_vectors` hold before the base model's vectors; None without any."""
        return None

    def details(self) -> dict[str, Any]:
        """The settings that shaped the transfer, for the manifest."""
        return {}


def fitted(part: T | None) -> T:
    """``part`` of a model that has been fitted.

    Raises:
        DiffCDRError: it has not.
    """
    if part is None:
        raise DiffCDRError("the model has not been trained; call fit first")
    return part
