"""SSCDR (Kang et al. 2019): EMCDR's regression, and beside it what source-only users tell about the mapped space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from training.models.baselines.mapping import mapping_network
from training.models.epoch_model import LearnedModel, Learner, descend
from training.problem import RatingTable, TransferProblem
from training.setting_types import EpochsConfig


class SSCDRConfig(EpochsConfig):
    """SSCDR (Kang et al. 2019), section ``[sscdr]``. Released code: ``linear``, negatives drawn once."""

    mapping: Literal["linear", "mlp"] = "linear"
    """``linear``: one matrix, no bias. ``mlp``: one hidden tanh layer."""
    hidden_dim: int = Field(default=20, ge=1)
    """Of ``mlp``."""
    margin: float = Field(default=0.5, ge=0.0)
    """m of the triplet loss, in squared distances of unit vectors: of [0, 4]."""
    triplet_weight: float = Field(default=0.1, ge=0.0)
    """Weight of the unsupervised part; zero leaves it out, which is EMCDR."""
    triplet_batch_size: int = Field(default=64, ge=1)
    """Triplets that accompany each batch of overlap users."""


@dataclass(frozen=True)
class Triplets:
    """Source ratings of source-only users, and which items each such user has not rated.

    ``users``, ``items`` int64 [R], by (user, item). ``gaps`` int64 [R], ascending: user * (n_items + 1) + the number of
    unrated items below the rated one, by which the n-th unrated item is found without trial.
    """

    users: Tensor
    items: Tensor
    gaps: Tensor
    counts: Tensor
    starts: Tensor
    n_items: int

    @classmethod
    def of(cls, source: RatingTable, *, overlap: Tensor) -> Self:
        """From all ratings of users outside ``overlap`` that leave at least one item unrated."""
        counts = torch.bincount(source.users, minlength=source.n_users)
        usable = counts < source.n_items
        usable[overlap] = False
        kept = usable[source.users]
        users, items = source.users[kept], source.items[kept]
        counts = torch.bincount(users, minlength=source.n_users)
        starts = torch.cumsum(counts, 0) - counts
        rank = torch.arange(len(users)) - starts[users]
        return cls(users, items, users * (source.n_items + 1) + items - rank, counts, starts, source.n_items)

    def __len__(self) -> int:
        return len(self.users)

    def draw(self, count: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Users, an item each has rated, and one each has not: int64 [count] each; ratings and negatives uniform."""
        rows = torch.randint(len(self), (count,), generator=generator)
        users = self.users[rows]
        free = self.n_items - self.counts[users]
        nth = (torch.rand(count, generator=generator, dtype=torch.float64) * free).long()
        below = torch.searchsorted(self.gaps, users * (self.n_items + 1) + nth, right=True) - self.starts[users]
        return users, self.items[rows], nth + below


class SSCDR(LearnedModel[SSCDRConfig]):
    """Mapped overlap users are to meet their target vectors; a mapped source-only user is to be nearer, by
    ``margin``, to a mapped item that the user has rated than to one that the user has not.

    Distances in the triplet part are squared Euclidean ones of unit vectors: the base models compare by product, not
    by distance as the paper's own do, so lengths say how strong a taste is, not where it lies. Negatives are drawn anew
    for each batch. The paper's multi-hop inference, which averages a user's vector with mapped neighbours', is left out
    as in the comparisons of later papers: a user's vector is the mapped one.
    """

    name = "sscdr"

    def learner(self, problem: TransferProblem, *, generator: torch.Generator) -> Learner:
        """The mean squared distance of overlap users + ``triplet_weight`` times the mean triplet loss."""
        config, base = self.config, problem.source_base
        target_dim = problem.target_base.dim
        mapping = mapping_network(config, source_dim=base.dim, target_dim=target_dim, generator=generator)
        source = base.user_vectors[problem.overlap_source]
        target = problem.target_base.user_vectors[problem.overlap_target]
        triplets = Triplets.of(problem.source, overlap=problem.overlap_source)
        optimizer = torch.optim.Adam(mapping.parameters(), lr=config.lr, fused=True)

        def triplet_loss(generator: torch.Generator) -> Tensor:
            if not len(triplets) or config.triplet_weight == 0.0:
                return torch.zeros(())
            users, liked, other = triplets.draw(config.triplet_batch_size, generator=generator)
            vectors = torch.cat([base.user_vectors[users], base.item_vectors[liked], base.item_vectors[other]])
            user, near, far = nn.functional.normalize(mapping(vectors), dim=1).chunk(3)
            difference = (user - near).square().sum(dim=1) - (user - far).square().sum(dim=1)
            return nn.functional.relu(config.margin + difference).mean()

        def train_epoch(generator: torch.Generator) -> dict[str, float]:
            totals = torch.zeros(2, dtype=torch.float64)
            for users in torch.split(torch.randperm(len(source), generator=generator), config.batch_size):
                supervised = nn.functional.mse_loss(mapping(source[users]), target[users])
                unsupervised = triplet_loss(generator)
                descend(optimizer, supervised + config.triplet_weight * unsupervised)
                totals += torch.stack([supervised, unsupervised]).detach() * len(users)
            mapping_loss, of_triplets = (totals / len(source)).tolist()
            return {"mapping_loss": mapping_loss, "triplet_loss": of_triplets}

        return Learner(
            module=mapping,
            transfer=mapping,
            is_affine=config.mapping == "linear",
            inputs=lambda: base.user_vectors,
            head=problem.target_base.head,
            optimizers=[optimizer],
            train_epoch=train_epoch,
            rows=len(source),
            data=[source, target, base.user_vectors, base.item_vectors, triplets.users, triplets.items],
        )
