"""SA-VAE (Salah et al. 2021), soft alignment: a target autoencoder whose posterior is drawn to a frozen source one.

From its paper: an autoencoder of the source domain is trained first and stays as it is; the one of the target learns to
fit the target's observations and to keep its posterior near that of the source, jointly. Chosen here: for overlap users
the source posterior takes the prior's place in the target's evidence lower bound, for others the prior is N(0, I); a
cold user is decoded from the mean of the source posterior.
"""

from __future__ import annotations

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


class SAVAEConfig(VariationalConfig):
    """SA-VAE (Salah et al. 2021), section ``[savae]``. The released DiffCDR code has no SA-VAE."""

    source_epochs: int = Field(default=10, ge=1)
    """Epochs of the source autoencoder, before the first of the target's."""
    alignment_weight: float = Field(default=1.0, gt=0.0)
    """Weight of KL(target posterior || source posterior) of the overlap users."""


class _Aligned(nn.Module):
    """Both autoencoders; ``ready``: whether the source one has been trained, which is kept in checkpoints."""

    ready: Tensor

    def __init__(self, source: Domain, target: Domain) -> None:
        super().__init__()
        self.source, self.target = source, target
        self.register_buffer("ready", torch.tensor(False))


class SAVAE(LearnedModel[SAVAEConfig]):
    """A source vector is the mean of the source posterior; the transfer is the target decoder's hidden layer."""

    name = "savae"

    def learner(self, problem: TransferProblem, *, generator: torch.Generator) -> Learner:
        """The target's evidence lower bound, its posterior drawn to the source's."""
        config = self.config
        source, target = both_domains(problem, config, hidden=True, generator=generator)
        both = _Aligned(source, target)
        optimizer = optimizer_of(target, config)
        own = others(target.users, problem.overlap_target)
        everyone = torch.arange(len(problem.overlap_target))

        def step(batch: list[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
            overlap, alone = batch
            users = torch.cat([problem.overlap_target[overlap], alone])
            with torch.no_grad():
                prior = source.encoded(problem.overlap_source[overlap], generator)
            posterior = target.encoded(users, generator)
            fit = target.decoded(posterior.sample(generator), users) / len(users)
            drawn = posterior.rows(slice(0, len(overlap))).divergence(prior).sum() / len(users)
            free = posterior.rows(slice(len(overlap), None)).divergence().sum() / len(users)
            descend(optimizer, fit + config.alignment_weight * drawn + config.kl_weight * free)
            return {"reconstruction_loss": fit, "alignment_loss": drawn}

        def train_epoch(generator: torch.Generator) -> dict[str, float]:
            if not both.ready:
                self._train_source(source, generator)
                both.ready.fill_(True)
            batches = together([everyone, own], config.batch_size, generator)
            return epoch_means(batches, lambda batch: step(batch, generator))

        return Learner(
            module=both,
            transfer=target.decoder.layer,
            is_affine=False,
            inputs=source.means,
            head=target.head,
            optimizers=[optimizer],
            train_epoch=train_epoch,
            rows=len(target.ratings.ratings),
            data=[*source.data(), *target.data(), problem.overlap_source, problem.overlap_target],
        )

    def _train_source(self, source: Domain, generator: torch.Generator) -> None:
        """Maximise the evidence lower bound of the source's ratings, of all its users."""
        config, optimizer = self.config, optimizer_of(source, self.config)
        for _ in range(config.source_epochs):
            for (users,) in together([source.users], config.batch_size, generator):
                posterior: Posterior = source.encoded(users, generator)
                bound = source.decoded(posterior.sample(generator), users)
                bound = bound + config.kl_weight * posterior.divergence().sum()
                descend(optimizer, bound / len(users))
