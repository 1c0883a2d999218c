"""VDEA (Liu et al. 2022): two variational autoencoders, aligned by users and by groups of users.

From its paper: each domain's prior is a mixture of normal distributions, whose components are groups of users with
similar behaviour; locally, an overlap user's two posteriors are drawn together; globally, groups of one domain are
matched with those of the other by Gromov-Wasserstein optimal transport, which needs no overlap user, and matched groups
are drawn together. Chosen here: distances of normal distributions are squared 2-Wasserstein distances; the divergence
from the mixture is estimated at one draw; groups are matched once an epoch, by entropic transport (Peyré et al. 2016).
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from training.models.discussed.variational import (
    Domain,
    Posterior,
    VariationalConfig,
    both_domains,
    epoch_means,
    optimizer_of,
    others,
    together,
)
from training.models.epoch_model import LearnedModel, Learner, descend
from training.problem import TransferProblem

MATCHING_ROUNDS, SCALING_ROUNDS = 20, 30


class VDEAConfig(VariationalConfig):
    """VDEA (Liu et al. 2022), section ``[vdea]``. The released DiffCDR code has no VDEA."""

    groups: int = Field(default=8, ge=1, le=256)
    """Components of each domain's mixture."""
    local_weight: float = Field(default=1.0, ge=0.0)
    """Weight of the distance between the two posteriors of an overlap user."""
    global_weight: float = Field(default=0.1, ge=0.0)
    """Weight of the distance between matched groups."""


class Mixture(nn.Module):
    """A mixture of normal distributions with diagonal covariance: the prior of one domain."""

    def __init__(self, groups: int, dim: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.randn(groups, dim, generator=generator))
        self.log_variances = nn.Parameter(torch.zeros(groups, dim))
        self.logits = nn.Parameter(torch.zeros(groups))

    def log_density(self, vectors: Tensor) -> Tensor:
        """log p(z) of ``vectors`` [B, k], [B]."""
        each = log_normal(vectors[:, None], self.means, self.log_variances)
        return torch.logsumexp(each + torch.log_softmax(self.logits, dim=0), dim=1)

    def distances(self, other: Mixture) -> Tensor:
        """Squared 2-Wasserstein distances between the groups of both, [groups, groups]."""
        return apart(
            Posterior(self.means[:, None], self.log_variances[:, None]), Posterior(other.means, other.log_variances)
        )


class _Pair(nn.Module):
    """Both domains with their priors."""

    def __init__(self, source: Domain, target: Domain, config: VDEAConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.source, self.target = source, target
        self.source_prior, self.target_prior = (
            Mixture(config.groups, config.dim, generator=generator) for _ in range(2)
        )

    def matched(self) -> Tensor:
        """The matching of the groups as they are now."""
        with torch.no_grad():
            return match_groups(
                self.source_prior.distances(self.source_prior),
                self.target_prior.distances(self.target_prior),
                torch.softmax(self.source_prior.logits, dim=0),
                torch.softmax(self.target_prior.logits, dim=0),
            )

    def bound(
        self, domain: Domain, users: Tensor, weight: float, generator: torch.Generator
    ) -> tuple[Tensor, Posterior]:
        """The negative evidence lower bound of ``users``, summed, and their posteriors."""
        prior = self.source_prior if domain is self.source else self.target_prior
        posterior = domain.encoded(users, generator)
        drawn = posterior.sample(generator)
        surplus = log_normal(drawn, posterior.mean, posterior.log_variance) - prior.log_density(drawn)
        return domain.decoded(drawn, users) + weight * surplus.sum(), posterior


class VDEA(LearnedModel[VDEAConfig]):
    """A source vector is the mean of the source posterior; the transfer is the target decoder's hidden layer."""

    name = "vdea"

    def learner(self, problem: TransferProblem, *, generator: torch.Generator) -> Learner:
        """Both evidence lower bounds, the overlap users' alignment and that of matched groups."""
        config = self.config
        source, target = both_domains(problem, config, hidden=True, generator=generator)
        pair = _Pair(source, target, config, generator=generator)
        optimizer = optimizer_of(pair, config)
        in_source, in_target = problem.overlap_source, problem.overlap_target
        alone = others(source.users, in_source), others(target.users, in_target)

        def step(batch: list[Tensor], matching: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
            overlap, source_alone, target_alone = batch
            of_source = torch.cat([in_source[overlap], source_alone])
            of_target = torch.cat([in_target[overlap], target_alone])
            first, in_first = pair.bound(source, of_source, config.kl_weight, generator)
            second, in_second = pair.bound(target, of_target, config.kl_weight, generator)
            count, both = len(of_source) + len(of_target), slice(0, len(overlap))
            bound = (first + second) / count
            local = apart(in_first.rows(both), in_second.rows(both)).sum() / count
            between = (matching * pair.source_prior.distances(pair.target_prior)).sum()
            descend(optimizer, bound + config.local_weight * local + config.global_weight * between)
            return {"bound": bound, "local_loss": local, "global_loss": between}

        def train_epoch(generator: torch.Generator) -> dict[str, float]:
            matching = pair.matched()
            batches = together([torch.arange(len(in_source)), *alone], config.batch_size, generator)
            return epoch_means(batches, lambda batch: step(batch, matching, generator))

        return Learner(
            module=pair,
            transfer=target.decoder.layer,
            is_affine=False,
            inputs=source.means,
            head=target.head,
            optimizers=[optimizer],
            train_epoch=train_epoch,
            rows=len(source.ratings.ratings) + len(target.ratings.ratings),
            data=[*source.data(), *target.data(), in_source, in_target],
        )


def log_normal(vectors: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """log N(``vectors``; ``mean``, exp ``log_variance``), summed over the last dimension."""
    terms = (vectors - mean).square() / log_variance.exp() + log_variance + math.log(2.0 * math.pi)
    return -0.5 * terms.sum(dim=-1)


def apart(first: Posterior, second: Posterior) -> Tensor:
    """Squared 2-Wasserstein distance of normal distributions, over the last dimension; the others broadcast."""
    spreads = (0.5 * first.log_variance).exp() - (0.5 * second.log_variance).exp()
    return ((first.mean - second.mean).square() + spreads.square()).sum(dim=-1)


def match_groups(source: Tensor, target: Tensor, source_shares: Tensor, target_shares: Tensor) -> Tensor:
    """The Gromov-Wasserstein matching of groups, [G, H]: rows sum to ``source_shares`` [G], columns to the target's.

    ``source`` [G, G] and ``target`` [H, H] are distances within each domain. Square loss, entropic regularisation of a
    twentieth of the mean cost: the fixed point of Peyré et al. (2016, section 3), from the independent matching.
    """
    source, target = (each.double() / each.double().mean().clamp(min=1e-12) for each in (source, target))
    p, q = source_shares.double(), target_shares.double()
    matching = p[:, None] * q[None]
    fixed = (source.square() @ p)[:, None] + (target.square() @ q)[None]
    for _ in range(MATCHING_ROUNDS):
        cost = fixed - 2.0 * source @ matching @ target.T
        cost = cost - cost.min()
        kernel = (-cost / (0.05 * cost.mean().clamp(min=1e-12))).exp().clamp(min=1e-30)
        left, right = torch.ones_like(p), torch.ones_like(q)
        for _ in range(SCALING_ROUNDS):
            right = q / (kernel.T @ left)
            left = p / (kernel @ right)
        matching = left[:, None] * kernel * right[None]
    return matching.float()
