"""MWUF (Zhu et al. 2021) on the user side: one common vector for all cold users, scaled and shifted for each.

From its paper: cold items start from a common vector, the mean of known ones. A meta scaling network, applied to their
features, and a meta shifting network, applied to the mean of the users who interacted with them, warm them up. The loss
is that of the warmed-up predictions. Chosen here: users are cold instead of items; their features are the source
vector; the source items that they rated well take the place of the interacting users; the scale is one plus the output
of its network, so that all users start from the common vector, which is learnt too.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from diffcdr.errors import InputError
from training.models.baselines.ptupcdr import PADDING, histories
from training.models.batching import UserRatings
from training.models.epoch_model import LearnedModel, Learner, descend
from training.models.layers import linear
from training.models.objectives import task_loss
from training.problem import TransferProblem
from training.setting_types import EpochsConfig


class MWUFConfig(EpochsConfig):
    """MWUF (Zhu et al. 2021) on the user side, section ``[mwuf]``. The released DiffCDR code has no MWUF."""

    hidden_dim: int = Field(default=16, ge=1)
    """Width of the hidden layer of both networks."""
    history: int = Field(default=20, ge=1)
    """Most source items of a user that are averaged: the latest, or without times the best rated."""
    threshold: float = 3.0
    """Only items rated above this are averaged."""
    batch_size: int = Field(default=128, ge=1)
    """Ratings per batch, since the loss is one of ratings."""


class WarmUp(nn.Module):
    """[u_s ; mean item] -> common * (1 + scale(u_s)) + shift(mean item)."""

    def __init__(self, common: Tensor, source_dim: int, *, hidden_dim: int, generator: torch.Generator) -> None:
        """``common`` [target_dim]: the starting point of every user."""
        super().__init__()
        self.source_dim = source_dim
        self.common = nn.Parameter(common.clone())
        self.scaling, self.shifting = (
            nn.Sequential(
                linear(source_dim, hidden_dim, generator=generator),
                nn.ReLU(),
                linear(hidden_dim, len(common), generator=generator),
            )
            for _ in range(2)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, 2 source_dim] -> [B, target_dim]."""
        scale, shift = self.scaling(inputs[:, : self.source_dim]), self.shifting(inputs[:, self.source_dim :])
        warmed: Tensor = self.common * (1.0 + scale) + shift
        return warmed


class MWUF(LearnedModel[MWUFConfig]):
    """Task-oriented. A source vector is [u_s ; mean item], averaged once, so that serving needs no history."""

    name = "mwuf"

    def learner(self, problem: TransferProblem, *, generator: torch.Generator) -> Learner:
        """Minimises the mean squared error over the target ratings of the training overlap users."""
        config, base, target = self.config, problem.source_base, problem.target_base
        history = histories(
            problem.source, longest=config.history, threshold=config.threshold, times=problem.source_times
        )
        present = (history != PADDING)[:, :, None]
        if not bool(present[problem.overlap_source].any()):
            raise InputError(
                f"none of the {len(problem.overlap_source):,} training users has rated a source item above "
                f"{config.threshold:g}, so MWUF has no items to average; lower mwuf.threshold"
            )
        means = (base.item_vectors[history.clamp(min=0)] * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)
        inputs = torch.cat([base.user_vectors, means], dim=1)
        ratings = UserRatings.of_overlap(problem)
        source = inputs[problem.overlap_source]
        common = target.user_vectors[problem.overlap_target].mean(dim=0)
        network = WarmUp(common, base.dim, hidden_dim=config.hidden_dim, generator=generator)
        optimizer = torch.optim.Adam(network.parameters(), lr=config.lr, fused=True)

        def train_epoch(generator: torch.Generator) -> dict[str, float]:
            total = torch.zeros((), dtype=torch.float64)
            for batch in ratings.batches("ratings", batch_size=config.batch_size, generator=generator):
                loss = task_loss(network(source[batch.users]), batch, target)
                descend(optimizer, loss)
                total += loss.detach() * len(batch.users)
            return {"task_loss": float(total) / len(ratings.users)}

        return Learner(
            module=network,
            transfer=network,
            is_affine=False,
            inputs=lambda: inputs,
            head=target.head,
            optimizers=[optimizer],
            train_epoch=train_epoch,
            rows=len(ratings.users),
            data=[source, target.item_vectors, ratings.users, ratings.items, ratings.ratings],
        )
