"""The base class of models that train a network in epochs and transfer users by it."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from training.evaluation.judging import epoch_criterion, epoch_figures
from training.fitting.checkpoint import CheckpointFile, EpochSettings, run_settings
from training.fitting.loop import FitReport, Progress, Training, run_epochs
from training.models.batching import blockwise
from training.models.contract import TransferModel, fitted
from training.problem import ScoringHead, TransferProblem


@dataclass(frozen=True)
class Learner:
    """One training of one model.

    ``module`` holds every weight; ``transfer`` is the part of it, [B, source_dim] -> [B, target_dim], that carries
    users, ``is_affine`` whether it is an affine map. ``inputs()`` -> [n_source_users, source_dim] and ``head()`` are
    what it takes and what its results are scored with, under the weights as they are. ``train_epoch(generator)`` goes
    through the ``rows`` rows once and returns its losses. ``data``: all that it reads, to tell runs apart.
    """

    module: nn.Module
    transfer: nn.Module
    is_affine: bool
    inputs: Callable[[], Tensor]
    head: Callable[[], ScoringHead]
    optimizers: Sequence[torch.optim.Optimizer]
    train_epoch: Callable[[torch.Generator], dict[str, float]]
    rows: int
    data: list[Tensor]


@dataclass(frozen=True)
class _Fitted:
    module: nn.Module
    transfer: nn.Module
    is_affine: bool
    source_vectors: Tensor
    head: ScoringHead


C = TypeVar("C", bound=EpochSettings)


class LearnedModel(TransferModel, Generic[C]):
    """A model that trains in epochs; :meth:`learner` says how."""

    def __init__(self, config: C) -> None:
        self.config = config
        self._fitted: _Fitted | None = None

    @abstractmethod
    def learner(self, problem: TransferProblem, *, generator: torch.Generator) -> Learner:
        """The untrained weights and how to train them.

        Raises:
            InputError: ``problem`` cannot be learnt from.
        """

    def fit(
        self,
        problem: TransferProblem,
        *,
        generator: torch.Generator,
        progress: Progress | None = None,
        checkpoint: CheckpointFile | None = None,
    ) -> FitReport:
        """Train; the epoch with the lowest validation error is kept."""
        learner = self.learner(problem, generator=generator)
        return self._train(learner, problem, generator=generator, progress=progress, checkpoint=checkpoint)

    def fine_tuned(self, problem: TransferProblem, *, generator: torch.Generator) -> tuple[Self, FitReport]:
        """A copy that goes on training, with optimisers begun anew, for as many epochs as :meth:`fit`."""
        learner = self.learner(problem, generator=generator)
        self.adopt(learner.module, fitted(self._fitted).module)
        again = copy.copy(self)
        return again, again._train(learner, problem, generator=generator)

    def adopt(self, module: nn.Module, trained: nn.Module) -> None:
        """Give ``module``, made for another problem, the weights of ``trained``."""
        module.load_state_dict(trained.state_dict())

    def _train(
        self,
        learner: Learner,
        problem: TransferProblem,
        *,
        generator: torch.Generator,
        progress: Progress | None = None,
        checkpoint: CheckpointFile | None = None,
    ) -> FitReport:
        config, held_out = self.config, problem.validation

        def validate() -> dict[str, float]:
            with torch.no_grad():
                head = learner.head()
                vectors = _carry(learner.transfer, learner.inputs()[held_out.source_rows], width=_width(head))
            return epoch_figures(vectors, held_out, head=head, rating_range=problem.rating_range)

        report = run_epochs(
            Training(learner.module, learner.optimizers, learner.train_epoch, rows=learner.rows, validate=validate),
            epochs=config.epochs,
            select_by=epoch_criterion(learner.head(), config.select_by),
            generator=generator,
            settings=run_settings(self.name, config, generator=generator, data=learner.data),
            progress=progress,
            checkpoint=checkpoint,
        )
        with torch.no_grad():
            self._fitted = _Fitted(
                learner.module, learner.transfer, learner.is_affine, learner.inputs(), learner.head()
            )
        return report

    def source_vectors(self) -> Tensor:
        """The inputs of the trained network, for every source user."""
        return fitted(self._fitted).source_vectors

    def head(self) -> ScoringHead:
        """The item tables of the training."""
        return fitted(self._fitted).head

    def transfer(self, vectors: Tensor) -> Tensor:
        """The trained network, in the dtype of ``vectors``."""
        with torch.no_grad():
            return _carry(fitted(self._fitted).transfer, vectors, width=_width(self.head()))

    def fold(self) -> tuple[Tensor, Tensor] | None:
        """Where the network is affine: its images of zero and of the basis, in float64."""
        state = fitted(self._fitted)
        if not state.is_affine:
            return None
        dim = state.source_vectors.shape[1]
        images = self.transfer(torch.cat([torch.zeros(1, dim), torch.eye(dim)]).double())
        return images[1:] - images[0], images[0]

    def export_module(self) -> nn.Module | None:
        """A copy of the network; None for the identity."""
        transfer = fitted(self._fitted).transfer
        if isinstance(transfer, nn.Identity):
            return None
        return copy.deepcopy(transfer).requires_grad_(False).eval()

    def details(self) -> dict[str, Any]:
        """The settings."""
        return self.config.model_dump(mode="json")


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of ``optimizer`` down ``loss``."""
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()


def _width(head: ScoringHead) -> int:
    return int(head.item_vectors.shape[1])


def _carry(transfer: nn.Module, vectors: Tensor, *, width: int) -> Tensor:
    return blockwise(copy.deepcopy(transfer).to(vectors.dtype).eval(), vectors, width=width)
