"""CDRIB (Cao et al. 2022): one latent space for both domains, by a variational information bottleneck.

From its paper: a graph encoder per domain makes latent vectors from interactions; an overlap user's vector of one
domain must predict the *other* domain's interactions and forget what it does not need (the divergence from N(0, I));
users of one domain predict their own; a discriminator tells pairs of vectors of one user from pairs of two. Ratings are
inner products of latent vectors. Chosen here: one step in the graph, from items to users; items have one vector each
instead of a distribution; the error is that of ratings instead of sampled interactions.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from training.models.discussed.variational import (
    Domain,
    VariationalConfig,
    both_domains,
    epoch_means,
    optimizer_of,
    others,
    together,
)
from training.models.epoch_model import LearnedModel, Learner, descend
from training.models.layers import linear
from training.problem import TransferProblem


class CDRIBConfig(VariationalConfig):
    """CDRIB (Cao et al. 2022), section ``[cdrib]``. The released DiffCDR code has no CDRIB."""

    contrast_weight: float = Field(default=1.0, ge=0.0)
    """Weight of the discriminator's loss."""


class _Bottleneck(nn.Module):
    """Both domains and the discriminator, [z_s ; z_t] -> the log-odds that they are of one user."""

    def __init__(self, source: Domain, target: Domain, config: CDRIBConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.source, self.target = source, target
        self.discriminator = nn.Sequential(
            linear(2 * config.dim, config.hidden_dim, generator=generator),
            nn.ReLU(),
            linear(config.hidden_dim, 1, generator=generator),
        )

    def contrast(self, source: Tensor, target: Tensor) -> Tensor:
        """Mean cross-entropy over pairs of one user and pairs of a user and the next; both [B, k]."""
        pairs = torch.cat([torch.cat([source, other], dim=1) for other in (target, target.roll(1, dims=0))])
        same = torch.cat([torch.ones(len(source)), torch.zeros(len(source))])
        return nn.functional.binary_cross_entropy_with_logits(self.discriminator(pairs).squeeze(1), same)


class CDRIB(LearnedModel[CDRIBConfig]):
    """A source vector is the mean of the source posterior, and is a vector of the target domain as it is."""

    name = "cdrib"

    def learner(self, problem: TransferProblem, *, generator: torch.Generator) -> Learner:
        """Cross-domain and in-domain bottleneck, and the contrast of overlap users."""
        config = self.config
        source, target = both_domains(problem, config, hidden=False, generator=generator)
        model = _Bottleneck(source, target, config, generator=generator)
        optimizer = optimizer_of(model, config)
        in_source, in_target = problem.overlap_source, problem.overlap_target
        alone = others(source.users, in_source), others(target.users, in_target)

        def step(batch: list[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
            overlap, source_alone, target_alone = batch
            of_source = torch.cat([in_source[overlap], source_alone])
            of_target = torch.cat([in_target[overlap], target_alone])
            posteriors = source.encoded(of_source, generator), target.encoded(of_target, generator)
            from_source, from_target = (posterior.sample(generator) for posterior in posteriors)
            both, count = len(overlap), len(of_source) + len(of_target)
            # An overlap user's vector of one domain predicts the ratings of the other.
            fit = (
                target.decoded(torch.cat([from_source[:both], from_target[both:]]), of_target)
                + source.decoded(torch.cat([from_target[:both], from_source[both:]]), of_source)
            ) / count
            kept = sum((each.divergence().sum() for each in posteriors), torch.zeros(())) / count
            contrast = model.contrast(from_source[:both], from_target[:both]) if both > 1 else torch.zeros(())
            descend(optimizer, fit + config.kl_weight * kept + config.contrast_weight * contrast)
            return {"reconstruction_loss": fit, "divergence": kept, "contrast_loss": contrast}

        def train_epoch(generator: torch.Generator) -> dict[str, float]:
            batches = together([torch.arange(len(in_source)), *alone], config.batch_size, generator)
            return epoch_means(batches, lambda batch: step(batch, generator))

        return Learner(
            module=model,
            transfer=target.decoder.layer,
            is_affine=True,
            inputs=source.means,
            head=target.head,
            optimizers=[optimizer],
            train_epoch=train_epoch,
            rows=len(source.ratings.ratings) + len(target.ratings.ratings),
            data=[*source.data(), *target.data(), in_source, in_target],
        )
