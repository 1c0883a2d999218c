"""LACDR (Wang et al. 2021): each domain's vectors coded in few dimensions, and the codes of overlap users aligned."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from training.models.epoch_model import LearnedModel, Learner, descend
from training.models.layers import linear
from training.problem import RatingTable, TransferProblem
from training.setting_types import EpochsConfig


class LACDRConfig(EpochsConfig):
    """LACDR (Wang et al. 2021), section ``[lacdr]``. Released code: hidden 4, the three losses summed."""

    hidden_dim: int = Field(default=4, ge=1)
    """Size of the codes."""
    activation: Literal["none", "tanh"] = "none"
    """Of the codes. ``none`` makes the transfer affine."""
    alignment_weight: float = Field(default=1.0, gt=0.0)
    """Weight of the distance of codes; 1 is the plain sum."""


class Autoencoder(nn.Module):
    """One domain: ``encoder`` [B, k] -> [B, hidden], ``decoder`` back."""

    def __init__(self, dim: int, config: LACDRConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        code = linear(dim, config.hidden_dim, generator=generator)
        self.encoder = nn.Sequential(code) if config.activation == "none" else nn.Sequential(code, nn.Tanh())
        self.decoder = linear(config.hidden_dim, dim, generator=generator)

    def reconstruction_loss(self, vectors: Tensor) -> Tensor:
        """Mean squared error of ``vectors`` [B, k] coded and decoded; zero for none."""
        if not len(vectors):
            return vectors.new_zeros(())
        return nn.functional.mse_loss(self.decoder(self.encoder(vectors)), vectors)


class LACDR(LearnedModel[LACDRConfig]):
    """The transfer is the target decoder on the source code.

    Reconstruction is learnt from all users with ratings, so that users of one domain alone shape its codes too; only
    the alignment needs overlap users.
    """

    name = "lacdr"

    def learner(self, problem: TransferProblem, *, generator: torch.Generator) -> Learner:
        """Both reconstruction losses + ``alignment_weight`` times the mean squared distance of overlap users' codes.

        An epoch goes through the overlap users once, and in as many batches through all users of either domain.
        """
        config, source_base, target_base = self.config, problem.source_base, problem.target_base
        source = Autoencoder(source_base.dim, config, generator=generator)
        target = Autoencoder(target_base.dim, config, generator=generator)
        module = nn.ModuleList([source, target])
        optimizer = torch.optim.Adam(module.parameters(), lr=config.lr, fused=True)
        of_source = source_base.user_vectors[problem.overlap_source]
        of_target = target_base.user_vectors[problem.overlap_target]
        all_source = source_base.user_vectors[raters(problem.source)]
        all_target = target_base.user_vectors[raters(problem.target)]
        batches = -(-len(of_source) // config.batch_size)

        def train_epoch(generator: torch.Generator) -> dict[str, float]:
            parts = [
                torch.randperm(len(rows), generator=generator).tensor_split(batches)
                for rows in (of_source, all_source, all_target)
            ]
            totals = torch.zeros(3, dtype=torch.float64)
            for overlap, source_users, target_users in zip(*parts, strict=True):
                codes = source.encoder(of_source[overlap]), target.encoder(of_target[overlap])
                losses = torch.stack(
                    [
                        nn.functional.mse_loss(*codes),
                        source.reconstruction_loss(all_source[source_users]),
                        target.reconstruction_loss(all_target[target_users]),
                    ]
                )
                descend(optimizer, config.alignment_weight * losses[0] + losses[1] + losses[2])
                totals += losses.detach()
            alignment, source_loss, target_loss = (totals / batches).tolist()
            return {"alignment_loss": alignment, "source_loss": source_loss, "target_loss": target_loss}

        return Learner(
            module=module,
            transfer=nn.Sequential(source.encoder, target.decoder),
            is_affine=config.activation == "none",
            inputs=lambda: source_base.user_vectors,
            head=target_base.head,
            optimizers=[optimizer],
            train_epoch=train_epoch,
            rows=len(of_source),
            data=[of_source, of_target, all_source, all_target],
        )


def raters(table: RatingTable) -> Tensor:
    """Rows of the users with ratings, ascending. The others' base vectors are untrained."""
    return torch.nonzero(torch.bincount(table.users, minlength=table.n_users)).squeeze(1)
