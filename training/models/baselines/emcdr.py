"""EMCDR (Man et al. 2017): regress the target vector of an overlap user on the source vector."""

from __future__ import annotations

import torch
from torch import nn

from training.models.baselines.mapping import mapping_network
from training.models.contract import TransferProblem
from training.models.epoch_model import LearnedModel, Learner, descend
from training.setting_types import EMCDRConfig


class EMCDR(LearnedModel[EMCDRConfig]):
    """A linear map without bias, or one hidden tanh layer."""

    name = "emcdr"

    def learner(self, problem: TransferProblem, *, generator: torch.Generator) -> Learner:
        """The mean squared distance of mapped source vectors to target vectors of the overlap users."""
        config, base, target_base = self.config, problem.source_base, problem.target_base
        mapping = mapping_network(config, source_dim=base.dim, target_dim=target_base.dim, generator=generator)
        source = base.user_vectors[problem.overlap_source]
        target = target_base.user_vectors[problem.overlap_target]
        optimizer = torch.optim.Adam(mapping.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)

        def train_epoch(generator: torch.Generator) -> dict[str, float]:
            total = torch.zeros((), dtype=torch.float64)
            for users in torch.split(torch.randperm(len(source), generator=generator), config.batch_size):
                loss = nn.functional.mse_loss(mapping(source[users]), target[users])
                descend(optimizer, loss)
                total += loss.detach() * len(users)
            return {"mapping_loss": float(total) / len(source)}

        return Learner(
            module=mapping,
            transfer=mapping,
            is_affine=config.mapping == "linear",
            inputs=lambda: base.user_vectors,
            head=target_base.head,
            optimizers=[optimizer],
            train_epoch=train_epoch,
            rows=len(source),
            data=[source, target],
        )
