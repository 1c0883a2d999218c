"""SSCDR (Kang et al. 2019): EMCDR's regression plus a triplet loss over users' items."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from training.base_models.unrated import Unrated
from training.models.baselines.mapping import mapping_network
from training.models.batching import UserRatings
from training.models.epoch_model import LearnedModel, Learner, descend
from training.problem import TransferProblem, rating_tensors
from training.rating_table import RatingTable
from training.setting_types import EpochsConfig


class SSCDRConfig(EpochsConfig):
    """SSCDR (Kang et al. 2019), section ``[sscdr]``.

    The defaults are the SSCDR paper's form; the released DiffCDR code has another, said at each setting.
    """

    mapping: Literal["linear", "mlp"] = "linear"
    """``linear``: one matrix (released code). ``mlp``: one hidden tanh layer."""
    hidden_dim: int = Field(default=20, ge=1)
    """Of ``mlp``."""
    bias: bool = False
    """Of ``linear`` (released code: with one)."""
    anchors: Literal["source_only", "overlap"] = "source_only"
    """Whose triplets: mapped users of the source alone, as unit vectors; or the training overlap users' target vectors,
    all vectors as they are (released code)."""
    negatives: Literal["anew", "once"] = "anew"
    """Triplets are drawn for each batch, or once for each row (released code)."""
    margin: float = Field(default=0.5, ge=0.0)
    """m of the triplet loss, in squared distances; those of unit vectors are in [0, 4]. Released code: 1."""
    triplet_weight: float = Field(default=0.1, ge=0.0)
    """Weight of the triplets; zero leaves them out, which is EMCDR. Released code: 1."""
    triplet_batch_size: int = Field(default=64, ge=1)
    """Triplets of source-only users that accompany each batch; overlap users bring one for each row."""
    squared_error: Literal["mean", "sum"] = "mean"
    """Of a row in the regression: the mean over its k dimensions, or the sum (the SSCDR paper, released code)."""
    rows: Literal["users", "ratings"] = "users"
    """What a batch is made of. Released code: target ratings of overlap users; heavy users weigh more."""


@dataclass(frozen=True)
class Triplets:
    """Source ratings of some users, and which items each such user has not rated.

    ``users``, ``items`` int64 [R], by (user, item).
    """

    users: Tensor
    items: Tensor
    unrated: Unrated

    @classmethod
    def of(cls, source: RatingTable, *, users: Tensor) -> Self:
        """From all ratings of ``users`` (rows) that leave at least one item unrated."""
        columns = rating_tensors(source)
        usable = torch.zeros(source.n_users, dtype=torch.bool)
        usable[users] = True
        usable &= torch.bincount(columns.users, minlength=source.n_users) < source.n_items
        table = source.take(usable.numpy()[source.users])
        of_users = rating_tensors(table)
        return cls(of_users.users, of_users.items, Unrated.of(table))

    def __len__(self) -> int:
        return len(self.users)

    def draw(self, count: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Users, an item each has rated, and one each has not: int64 [count] each; ratings and negatives uniform."""
        rows = torch.randint(len(self), (count,), generator=generator)
        users = self.users[rows]
        return users, self.items[rows], self.unrated.draw(users, generator=generator)

    def draw_for(self, users: Tensor, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """For each of ``users`` [B] an item rated and one not, int64 [B] each, uniform; each must have both."""
        counts = self.unrated.counts[users]
        nth = (torch.rand(len(users), generator=generator, dtype=torch.float64) * counts).long()
        return self.items[self.unrated.starts[users] + nth], self.unrated.draw(users, generator=generator)


TripletLoss = Callable[[nn.Module, Tensor, torch.Generator], Tensor]
"""(mapping, rows of the batch, generator) -> the mean triplet loss."""


class SSCDR(LearnedModel[SSCDRConfig]):
    """Mapped overlap users are to meet their target vectors; a triplet's user is to be nearer, by ``margin``, to a
    mapped item that the user has rated than to one that the user has not.

    The SSCDR paper's triplets are of users of the source alone. Vectors there are made unit vectors: the base models
    compare by product, not by distance as the paper's own do, so lengths say how strong a taste is, not where it lies.
    The paper's multi-hop inference, which averages a user's vector with mapped neighbours', is left out as in the
    comparisons of later papers: a user's vector is the mapped one.
    """

    name = "sscdr"

    def learner(self, problem: TransferProblem, *, generator: torch.Generator) -> Learner:
        """The mean squared distance of overlap users + ``triplet_weight`` times the mean triplet loss."""
        config, base = self.config, problem.source_base
        target_dim = problem.target_base.dim
        mapping = mapping_network(
            config, source_dim=base.dim, target_dim=target_dim, bias=config.bias, generator=generator
        )
        source = base.user_vectors[problem.overlap_source]
        target = problem.target_base.user_vectors[problem.overlap_target]
        users_of = torch.arange(len(source)) if config.rows == "users" else UserRatings.of_overlap(problem).users
        triplet_loss, triplets = _triplet_loss(config, problem, users_of, generator=generator)
        optimizer = torch.optim.Adam(mapping.parameters(), lr=config.lr, fused=True)
        scale = target_dim if config.squared_error == "sum" else 1

        def train_epoch(generator: torch.Generator) -> dict[str, float]:
            totals = torch.zeros(2, dtype=torch.float64)
            for rows in torch.split(torch.randperm(len(users_of), generator=generator), config.batch_size):
                users = users_of[rows]
                supervised = scale * nn.functional.mse_loss(mapping(source[users]), target[users])
                unsupervised = triplet_loss(mapping, rows, generator)
                descend(optimizer, supervised + config.triplet_weight * unsupervised)
                totals += torch.stack([supervised, unsupervised]).detach() * len(rows)
            mapping_loss, of_triplets = (totals / len(users_of)).tolist()
            return {"mapping_loss": mapping_loss, "triplet_loss": of_triplets}

        return Learner(
            module=mapping,
            transfer=mapping,
            is_affine=config.mapping == "linear",
            inputs=lambda: base.user_vectors,
            head=problem.target_base.head,
            optimizers=[optimizer],
            train_epoch=train_epoch,
            rows=len(users_of),
            data=[source, target, base.user_vectors, base.item_vectors, users_of, triplets.users, triplets.items],
        )


def _triplet_loss(
    config: SSCDRConfig, problem: TransferProblem, users_of: Tensor, *, generator: torch.Generator
) -> tuple[TripletLoss, Triplets]:
    """The loss of ``config.anchors``, and what triplets are drawn from. ``users_of`` [R]: the overlap user of a row."""
    base, overlap = problem.source_base, problem.overlap_source
    alone = torch.ones(problem.source.n_users, dtype=torch.bool)
    alone[overlap] = False
    of_overlap = config.anchors == "overlap"
    triplets = Triplets.of(problem.source, users=overlap if of_overlap else torch.nonzero(alone).squeeze(1))
    if not len(triplets) or config.triplet_weight == 0.0:
        return (lambda mapping, rows, generator: torch.zeros(())), triplets
    if of_overlap:
        return _of_overlap_users(config, problem, triplets, overlap[users_of], generator=generator), triplets

    drawn = triplets.draw(len(users_of), generator=generator) if config.negatives == "once" else None

    def of_source_users(mapping: nn.Module, rows: Tensor, generator: torch.Generator) -> Tensor:
        if drawn is None:
            users, liked, other = triplets.draw(config.triplet_batch_size, generator=generator)
        else:
            users, liked, other = (column[rows] for column in drawn)
        vectors = torch.cat([base.user_vectors[users], base.item_vectors[liked], base.item_vectors[other]])
        user, near, far = nn.functional.normalize(mapping(vectors), dim=1).chunk(3)
        return hinge(user, near, far, margin=config.margin)

    return of_source_users, triplets


def _of_overlap_users(
    config: SSCDRConfig,
    problem: TransferProblem,
    triplets: Triplets,
    source_rows: Tensor,
    *,
    generator: torch.Generator,
) -> TripletLoss:
    """Released code: the target vector nearer to a mapped item of the user's than to another; one for each row.

    ``source_rows`` [R]: the source user of each row. A row whose user has rated every source item has no triplet.
    """
    items = problem.source_base.item_vectors
    position = torch.full((problem.source.n_users,), -1, dtype=torch.int64)
    position[problem.overlap_source] = problem.overlap_target
    anchors = problem.target_base.user_vectors[position[source_rows]]
    has_both = triplets.unrated.counts[source_rows] > 0
    drawn = torch.zeros(2, len(source_rows), dtype=torch.int64)

    def draw(rows: Tensor, generator: torch.Generator) -> None:
        rows = rows[has_both[rows]]
        drawn[:, rows] = torch.stack(triplets.draw_for(source_rows[rows], generator=generator))

    draw(torch.arange(len(source_rows)), generator)

    def loss(mapping: nn.Module, rows: Tensor, generator: torch.Generator) -> Tensor:
        if config.negatives == "anew":
            draw(rows, generator)
        rows = rows[has_both[rows]]
        if not len(rows):
            return torch.zeros(())
        near, far = mapping(items[drawn[:, rows].flatten()]).chunk(2)
        return hinge(anchors[rows], near, far, margin=config.margin)

    return loss


def hinge(user: Tensor, near: Tensor, far: Tensor, *, margin: float) -> Tensor:
    """The mean of max(0, margin + |user - near|^2 - |user - far|^2), [B, k] each (Kang et al. 2019, equation 4)."""
    difference = (user - near).square().sum(dim=1) - (user - far).square().sum(dim=1)
    return nn.functional.relu(margin + difference).mean()
