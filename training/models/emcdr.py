"""EMCDR (Man et al. 2017): regress the target vector of an overlap user on the source vector."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from training.fit.checkpoint import CheckpointFile
from training.fit.identity import run_settings
from training.fit.loop import Training, run_epochs
from training.models.base import FitReport, Progress, ScoringHead, TransferModel, TransferProblem, fitted
from training.models.batching import blockwise
from training.models.configs import EMCDRConfig
from training.models.layers import linear
from training.models.validation import held_out_errors


class EMCDR(TransferModel):
    """A linear map without bias, or one hidden tanh layer."""

    name = "emcdr"

    def __init__(self, config: EMCDRConfig) -> None:
        self.config = config
        self._mapping: nn.Sequential | None = None
        self._head: ScoringHead | None = None
        self._source_vectors: Tensor | None = None

    def fit(
        self,
        problem: TransferProblem,
        *,
        generator: torch.Generator,
        progress: Progress | None = None,
        checkpoint: CheckpointFile | None = None,
    ) -> FitReport:
        """Minimise the mean squared distance of mapped source vectors to target vectors of the overlap users."""
        config, base = self.config, problem.target_base
        mapping = _mapping(config, source_dim=problem.source_base.dim, target_dim=base.dim, generator=generator)
        self._mapping = mapping
        self._head = base.head()
        self._source_vectors = problem.source_base.user_vectors
        source = problem.source_base.user_vectors[problem.overlap_source]
        target = base.user_vectors[problem.overlap_target]
        optimizer = torch.optim.Adam(mapping.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)

        def train_epoch(generator: torch.Generator) -> dict[str, float]:
            total = torch.zeros((), dtype=torch.float64)
            for users in torch.split(torch.randperm(len(source), generator=generator), config.batch_size):
                loss = nn.functional.mse_loss(mapping(source[users]), target[users])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                total += loss.detach() * len(users)
            return {"mapping_loss": float(total) / len(source)}

        def validate() -> dict[str, float]:
            vectors = self.transfer(self.source_vectors()[problem.validation.source_rows])
            return held_out_errors(vectors, problem.validation, head=self.head(), rating_range=problem.rating_range)

        return run_epochs(
            Training(mapping, [optimizer], train_epoch, rows=len(source), validate=validate),
            epochs=config.epochs,
            select_by=config.select_by,
            generator=generator,
            settings=run_settings(self.name, config, generator=generator, data=[source, target]),
            progress=progress,
            checkpoint=checkpoint,
        )

    def source_vectors(self) -> Tensor:
        """The source base model's user vectors."""
        return fitted(self._source_vectors)

    def head(self) -> ScoringHead:
        """The target base model's items."""
        return fitted(self._head)

    def transfer(self, vectors: Tensor) -> Tensor:
        """The mapping, in the dtype of ``vectors``."""
        mapping = copy.deepcopy(fitted(self._mapping)).to(vectors.dtype)
        with torch.no_grad():
            return blockwise(mapping, vectors, width=self.head().item_vectors.shape[1])

    def fold(self) -> tuple[Tensor, Tensor] | None:
        """The matrix of the linear mapping; None for the other."""
        if self.config.mapping != "linear":
            return None
        (weight,) = fitted(self._mapping).parameters()
        matrix = weight.detach().double().T.contiguous()
        return matrix, matrix.new_zeros(matrix.shape[1])

    def export_module(self) -> nn.Module:
        """A copy of the mapping."""
        return copy.deepcopy(fitted(self._mapping)).requires_grad_(False).eval()

    def details(self) -> dict[str, Any]:
        """The settings."""
        return self.config.model_dump(mode="json")


def _mapping(config: EMCDRConfig, *, source_dim: int, target_dim: int, generator: torch.Generator) -> nn.Sequential:
    if config.mapping == "linear":
        return nn.Sequential(linear(source_dim, target_dim, bias=False, generator=generator))
    return nn.Sequential(
        linear(source_dim, config.hidden_dim, generator=generator),
        nn.Tanh(),
        linear(config.hidden_dim, target_dim, generator=generator),
    )
