"""PTUPCDR (Zhu et al. 2022): a bridge of each user's own, made by a meta-network from the user's history."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from diffcdr.arrays import Int64Array
from diffcdr.errors import InputError
from training.models.batching import Batch, OverlapRatings
from training.models.epoch_model import LearnedModel, Learner, descend
from training.models.layers import linear
from training.models.objectives import task_loss
from training.problem import TransferProblem, column_tensor, rating_tensors
from training.rating_table import RatingTable
from training.setting_types import EpochsConfig


class PTUPCDRConfig(EpochsConfig):
    """PTUPCDR (Zhu et al. 2022), section ``[ptupcdr]``. Released code: the last 20 items rated above 3."""

    hidden_dim: int = Field(default=50, ge=1)
    """Of the meta-network."""
    history: int = Field(default=20, ge=1)
    """Longest history; see :func:`training.models.baselines.ptupcdr.histories` for which items are taken."""
    threshold: float = 3.0
    """Only items rated above this are in a history."""
    batch_size: int = Field(default=128, ge=1)
    """Ratings, since the loss is of ratings. Released code: 128 / 512 / 512 for tasks 1 / 2 / 3."""
    padding: Literal["masked", "first_item"] = "masked"
    """Of histories that are shorter: nothing, or the source's first item (released code).

    With ``first_item`` that item is never part of a history, and an empty history has its vector.
    """


PADDING = -1


class PersonalBridge(nn.Module):
    """[u_s ; p_u] -> u_s times the bridge that the meta-network makes of the characteristic p_u."""

    def __init__(self, source_dim: int, target_dim: int, *, hidden_dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.source_dim, self.target_dim = source_dim, target_dim
        self.meta_network = nn.Sequential(
            linear(source_dim, hidden_dim, generator=generator),
            nn.ReLU(),
            linear(hidden_dim, source_dim * target_dim, generator=generator),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, 2 source_dim] -> [B, target_dim]."""
        vectors, characteristics = inputs[:, : self.source_dim], inputs[:, self.source_dim :]
        bridges = self.meta_network(characteristics).reshape(-1, self.source_dim, self.target_dim)
        carried: Tensor = (vectors[:, :, None] * bridges).sum(dim=1)
        return carried


class PTUPCDRNetwork(nn.Module):
    """Attention over a history, and the bridge."""

    def __init__(
        self,
        source_dim: int,
        target_dim: int,
        *,
        hidden_dim: int,
        padding: Literal["masked", "first_item"] = "masked",
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.pads_with_an_item = padding == "first_item"
        self.attention = nn.Sequential(
            linear(source_dim, source_dim, generator=generator),
            nn.ReLU(),
            linear(source_dim, 1, bias=False, generator=generator),
        )
        self.bridge = PersonalBridge(source_dim, target_dim, hidden_dim=hidden_dim, generator=generator)

    def characteristics(self, history: Tensor, item_vectors: Tensor) -> Tensor:
        """p_u [B, source_dim]: the attended mean of the items of ``history`` int64 [B, H], ``PADDING`` left out.

        Zero for an empty history; the first item's vector where that is what histories are padded with.
        """
        present = history > 0 if self.pads_with_an_item else history != PADDING
        items = item_vectors[torch.where(present, history, 0)]
        scores = self.attention(items).squeeze(-1).masked_fill(~present, torch.finfo(items.dtype).min)
        # Where all is padding the softmax is uniform; the mask then leaves nothing of it.
        weights = scores.softmax(dim=1)
        weights = weights if self.pads_with_an_item else weights * present
        pooled: Tensor = (weights[:, :, None] * items).sum(dim=1)
        return pooled


class PTUPCDR(LearnedModel[PTUPCDRConfig]):
    """Task-oriented: the bridges are learnt from the overlap users' target ratings, not from their target vectors.

    A source vector is [u_s ; p_u]: pooling is done once, after training, so that what serves needs no history.
    """

    name = "ptupcdr"

    def learner(self, problem: TransferProblem, *, generator: torch.Generator) -> Learner:
        """The mean squared error over the target ratings of the training overlap users."""
        config, base, target = self.config, problem.source_base, problem.target_base
        history = histories(
            problem.source, longest=config.history, threshold=config.threshold, times=problem.source_times
        )
        own = history[problem.overlap_source]
        if not bool((own != PADDING).any()):
            raise InputError(
                f"none of the {len(own):,} training users has rated a source item above {config.threshold:g}, so "
                "PTUPCDR has no history to learn from; lower ptupcdr.threshold"
            )
        ratings = OverlapRatings.of(problem)
        source = base.user_vectors[problem.overlap_source]
        network = PTUPCDRNetwork(
            base.dim, target.dim, hidden_dim=config.hidden_dim, padding=config.padding, generator=generator
        )
        optimizer = torch.optim.Adam(network.parameters(), lr=config.lr, fused=True)

        def inputs_of(vectors: Tensor, history: Tensor) -> Tensor:
            return torch.cat([vectors, network.characteristics(history, base.item_vectors)], dim=1)

        def loss_of(batch: Batch) -> Tensor:
            carried = network.bridge(inputs_of(source[batch.users], own[batch.users]))
            return task_loss(carried, batch, target)

        def train_epoch(generator: torch.Generator) -> dict[str, float]:
            total = torch.zeros((), dtype=torch.float64)
            for batch in ratings.batches("ratings", batch_size=config.batch_size, generator=generator):
                loss = loss_of(batch)
                descend(optimizer, loss)
                total += loss.detach() * len(batch.users)
            return {"task_loss": float(total) / len(ratings.users)}

        return Learner(
            module=network,
            transfer=network.bridge,
            is_affine=False,
            inputs=lambda: inputs_of(base.user_vectors, history),
            head=target.head,
            optimizers=[optimizer],
            train_epoch=train_epoch,
            rows=len(ratings.users),
            data=[source, own, base.item_vectors, target.item_vectors, ratings.users, ratings.items, ratings.ratings],
        )


def histories(table: RatingTable, *, longest: int, threshold: float, times: Int64Array | None = None) -> Tensor:
    """Each user's items rated above ``threshold``: int64 [n_users, longest], filled up with ``PADDING``.

    Of more than ``longest`` the last by ``times`` [R] are taken, as the released code takes them; without times the
    best rated. Of equals those of the lowest row.
    """
    columns = rating_tensors(table)
    kept = columns.ratings > threshold
    users, items = columns.users[kept], columns.items[kept]
    ranks = columns.ratings[kept] if times is None else column_tensor(times)[kept]
    order = torch.argsort(items, stable=True)
    order = order[torch.argsort(ranks[order], descending=True, stable=True)]
    order = order[torch.argsort(users[order], stable=True)]
    users, items = users[order], items[order]
    counts = torch.bincount(users, minlength=table.n_users)
    rank = torch.arange(len(users)) - (torch.cumsum(counts, 0) - counts)[users]
    chosen = rank < longest
    history = torch.full((table.n_users, longest), PADDING, dtype=torch.int64)
    history[users[chosen], rank[chosen]] = items[chosen]
    return history
