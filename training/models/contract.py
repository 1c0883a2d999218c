"""The contract of every model: what it learns from and what it must offer.

A model is trained on two frozen base models (one per domain) and the training overlap users. It carries source
vectors into the target space and scores items there by ``offset + biases[j] + vectors[j] . target_vector``, and may
add what the neighbours of a user's source items say (:mod:`training.models.sparse_term`).
Models with other needs (a bias model, the popular list) fit the same form with tables of their own, so that
evaluation, export and serving know a single shape.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor

from diffcdr.bundle.manifest import FoldInSpec
from diffcdr.errors import DiffCDRError
from training.fitting.checkpoint import CheckpointFile
from training.fitting.loop import FitReport, Progress
from training.models.history import HistoryMap
from training.models.sparse_term import SparseTerm
from training.problem import ImplicitFeedback, ScoringHead, TransferProblem

T = TypeVar("T")


@dataclass(frozen=True)
class SourceFold:
    """A model's own fold-in rule: the tables that ``spec`` refers to, ``item_vectors`` [m, k] and the rest [m]."""

    spec: FoldInSpec
    item_vectors: Tensor
    item_biases: Tensor
    level_biases: Tensor | None = None


class TransferModel(ABC):
    """Transfers users from the source domain to the target domain."""

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
        """The fold-in rule of the source vectors, if they are not the base model's; None if there is no rule."""
        return None

    def source_history(self) -> HistoryMap | None:
        """The history features that :meth:`source_vectors` hold before the base model's vectors; None without any."""
        return None

    def sparse_term(self) -> SparseTerm | None:
        """What is added to the scores of :meth:`head` for the items of a user's source history; None for nothing."""
        return None

    def feedback(self, problem: TransferProblem) -> ImplicitFeedback | None:
        """How target ratings count for a model whose scores only order items; None if undefined.

        That of the target's base model, where the model scores with its items.
        """
        same = torch.equal(self.head().item_vectors, problem.target_base.item_vectors)
        return problem.target_base.feedback if same else None

    def fine_tuned(self, problem: TransferProblem, *, generator: torch.Generator) -> tuple[Self, FitReport] | None:
        """This model, fitted, trained further on ``problem`` alone, and how that went; None for one without epochs.

        ``problem``: as many users and items as before, overlap users and ratings of now; the epoch that is kept is
        chosen on its validation users. This model itself stays as it is.

        Raises:
            InputError: there is nothing to learn from, or training diverges.
        """
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
