"""What the variational systems share: an autoencoder of one domain's ratings with a normal latent vector per user.

Their papers encode rows of interactions. Here a row is what a user has rated and by how much, and the decoder predicts
the ratings that were given (squared error, the log-likelihood of a normal distribution), so that rating errors can be
compared with those of the other systems.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from diffcdr.errors import InputError
from training.base_models.unrated import joined
from training.models.batching import UserRatings, blockwise, raters
from training.models.layers import linear
from training.problem import ScoringHead, TransferProblem
from training.rating_table import RatingTable
from training.setting_types import Dim, EpochsConfig


class VariationalConfig(EpochsConfig):
    """Settings of every variational system."""

    dim: Dim = 10
    """k of the latent vectors."""
    hidden_dim: int = Field(default=32, ge=1)
    """Width of the hidden layer (tanh) of encoders, and of decoders that have one."""
    dropout: float = Field(default=0.3, ge=0.0, lt=1.0)
    """Share of a user's ratings that the encoder does not see in a training step."""
    kl_weight: float = Field(default=0.2, ge=0.0)
    """beta: weight of the Kullback–Leibler divergence from the prior; 1 is the evidence lower bound."""
    weight_decay: float = Field(default=0.0, ge=0.0)


@dataclass(frozen=True)
class Posterior:
    """Normal distributions with diagonal covariance: ``mean``, ``log_variance`` [B, k]."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw of each, [B, k], through which gradients flow."""
        noise = torch.randn(self.mean.shape, generator=generator)
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def rows(self, chosen: slice) -> Posterior:
        """Those at ``chosen``."""
        return Posterior(self.mean[chosen], self.log_variance[chosen])

    def divergence(self, prior: Posterior | None = None) -> Tensor:
        """KL(self || ``prior``) of each, [B]; the prior is N(0, I) unless given."""
        mean, log_variance = (0.0, 0.0) if prior is None else (prior.mean, prior.log_variance)
        log_ratio = self.log_variance - log_variance
        scale = 1.0 if prior is None else prior.log_variance.exp()
        return 0.5 * (log_ratio.exp() + (self.mean - mean).square() / scale - 1.0 - log_ratio).sum(dim=1)


class Encoder(nn.Module):
    """q(z | ratings): what is rated and by how much above the mean, summed over a user's items, then a tanh layer."""

    level: Tensor

    def __init__(self, table: RatingTable, config: VariationalConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.register_buffer("level", torch.tensor(float(table.values.mean())))
        bound = 1.0 / math.sqrt(config.hidden_dim)
        self.rated, self.liked = (_table(table.n_items, config.hidden_dim, bound, generator) for _ in range(2))
        self.bias = nn.Parameter(torch.zeros(config.hidden_dim))
        self.mean, self.log_variance = (linear(config.hidden_dim, config.dim, generator=generator) for _ in range(2))

    def forward(self, ratings: UserRatings, users: Tensor, generator: torch.Generator) -> Posterior:
        """Of ``users`` int64 [B], with dropout."""
        hidden = self.hidden(ratings, users, generator)
        return Posterior(self.mean(hidden), self.log_variance(hidden))

    def means(self, ratings: UserRatings, users: Tensor) -> Tensor:
        """The means of ``users``, without dropout, [B, k]; each depends on that user's ratings alone."""
        layer = copy.deepcopy(self.mean).eval()
        with torch.no_grad():
            return blockwise(layer, self.hidden(ratings, users), width=layer.out_features)

    def hidden(self, ratings: UserRatings, users: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The hidden layer of ``users`` [B, hidden]; with ``generator`` a share of the ratings is left out."""
        batch = ratings.of_users(users)
        counts = torch.bincount(batch.rated, minlength=len(users))
        # By the root of their number, so that a sum of independent ones has the same spread for everybody.
        weights = counts.clamp(min=1).float().rsqrt()[batch.rated]
        if generator is not None and self.dropout:
            seen = torch.rand(len(weights), generator=generator) >= self.dropout
            weights = weights * seen / (1.0 - self.dropout)
        starts = torch.cumsum(counts, 0) - counts

        def summed(table: nn.Parameter, by: Tensor) -> Tensor:
            return functional.embedding_bag(batch.items, table, starts, mode="sum", per_sample_weights=by)

        liked = weights * (batch.ratings - self.level)
        return torch.tanh(self.bias + summed(self.rated, weights) + summed(self.liked, liked))


class Decoder(nn.Module):
    """Ratings from latent vectors: level + item bias + item vector . layer(z)."""

    level: Tensor

    def __init__(
        self, table: RatingTable, config: VariationalConfig, *, layer: nn.Module, width: int, generator: torch.Generator
    ) -> None:
        """``layer``: [B, k] -> [B, ``width``], the part that carries users; item vectors are as wide as its results."""
        super().__init__()
        self.layer = layer
        self.register_buffer("level", torch.tensor(float(table.values.mean())))
        self.item_vectors = _table(table.n_items, width, 1.0 / math.sqrt(width), generator)
        self.item_biases = nn.Parameter(torch.zeros(table.n_items))

    def loss(self, vectors: Tensor, ratings: UserRatings, users: Tensor) -> Tensor:
        """-log p(ratings | z) at unit variance, up to a constant, summed over ``users`` [B]; ``vectors`` z [B, k]."""
        batch = ratings.of_users(users)
        items = functional.embedding(batch.items, self.item_vectors)
        products = (self.layer(vectors)[batch.rated] * items).sum(dim=1)
        errors: Tensor = self.level + self.item_biases[batch.items] + products - batch.ratings
        return 0.5 * errors.square().sum()


class Domain(nn.Module):
    """One domain's autoencoder, and the ratings that it reads.

    ``histories``: what users have rated, to encode. ``ratings``: the same with the added zeros, to reconstruct.
    ``hidden``: whether the decoder has a hidden layer; without one it is the inner product of latent and item vectors.
    """

    def __init__(
        self,
        table: RatingTable,
        zeros: RatingTable | None,
        config: VariationalConfig,
        *,
        hidden: bool,
        generator: torch.Generator,
    ) -> None:
        """Raises InputError where there are no ratings."""
        super().__init__()
        if not len(table):
            raise InputError("a variational autoencoder needs ratings and there are none; check the rating files")
        whole = joined(table, zeros)
        self.users = raters(table)
        self.histories, self.ratings = UserRatings.of_table(table), UserRatings.of_table(whole)
        self.with_zeros = zeros is not None
        self.encoder = Encoder(table, config, generator=generator)
        width = config.hidden_dim if hidden else config.dim
        layer = nn.Sequential(linear(config.dim, width, generator=generator), nn.Tanh()) if hidden else nn.Identity()
        self.decoder = Decoder(whole, config, layer=layer, width=width, generator=generator)

    def encoded(self, users: Tensor, generator: torch.Generator) -> Posterior:
        """q(z | ratings) of ``users`` int64 [B], as in training."""
        posterior: Posterior = self.encoder(self.histories, users, generator)
        return posterior

    def decoded(self, vectors: Tensor, users: Tensor) -> Tensor:
        """:meth:`Decoder.loss` of z ``vectors`` [B, k] for the ratings of ``users``."""
        return self.decoder.loss(vectors, self.ratings, users)

    def means(self) -> Tensor:
        """E[z] of every user of the domain, [n_users, k]."""
        means: Tensor = self.encoder.means(self.histories, torch.arange(len(self.histories.starts) - 1))
        return means

    def head(self) -> ScoringHead:
        """The decoder's items, as they are now."""
        decoder = self.decoder
        return ScoringHead(
            decoder.item_vectors.detach().clone(),
            decoder.item_biases.detach().clone(),
            float(decoder.level),
            "ranking" if self.with_zeros else "rating",
        )

    def data(self) -> list[Tensor]:
        """All that it reads, to tell runs apart."""
        return [self.ratings.users, self.ratings.items, self.ratings.ratings]


def both_domains(
    problem: TransferProblem, config: VariationalConfig, *, hidden: bool, generator: torch.Generator
) -> tuple[Domain, Domain]:
    """Source and target of ``problem``, drawn in this order; ``hidden`` as in :class:`Domain`."""
    source = Domain(problem.source, problem.source_zeros, config, hidden=hidden, generator=generator)
    target = Domain(problem.target, problem.target_zeros, config, hidden=hidden, generator=generator)
    return source, target


def others(users: Tensor, overlap: Tensor) -> Tensor:
    """Those of ``users`` that are not in ``overlap``, both int64."""
    return users[torch.isin(users, overlap, invert=True)]


def together(groups: Sequence[Tensor], batch_size: int, generator: torch.Generator) -> Iterator[list[Tensor]]:
    """Batches of ``batch_size`` rows over all ``groups`` [N_g], each group shuffled and spread over all batches."""
    count = max(1, -(-sum(map(len, groups)) // batch_size))
    parts = [group[torch.randperm(len(group), generator=generator)].tensor_split(count) for group in groups]
    return map(list, zip(*parts, strict=True))


def optimizer_of(module: nn.Module, config: VariationalConfig) -> torch.optim.Optimizer:
    """Adam over all weights of ``module``."""
    return torch.optim.Adam(module.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)


def epoch_means(steps: Iterator[list[Tensor]], step: Callable[[list[Tensor]], dict[str, Tensor]]) -> dict[str, float]:
    """``step`` on each batch; its losses, each a mean over batches."""
    totals: dict[str, Tensor] = {}
    count = 0
    for batch in steps:
        count += 1
        for name, loss in step(batch).items():
            totals[name] = totals.get(name, torch.zeros((), dtype=torch.float64)) + loss.detach()
    return {name: float(total) / count for name, total in totals.items()}


def _table(rows: int, width: int, bound: float, generator: torch.Generator) -> nn.Parameter:
    return nn.Parameter(torch.empty(rows, width).uniform_(-bound, bound, generator=generator))
