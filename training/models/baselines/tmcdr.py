"""TMCDR (Zhu et al. 2021): a mapping meta-learnt so that one step on some users serves users it has not seen."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch.func import functional_call

from training.models.baselines.mapping import mapping_network
from training.models.batching import Batch, UserRatings
from training.models.epoch_model import LearnedModel, Learner, descend
from training.models.objectives import task_loss
from training.problem import TransferProblem
from training.setting_types import EpochsConfig


class TMCDRConfig(EpochsConfig):
    """TMCDR (Zhu et al. 2021), section ``[tmcdr]``. The released DiffCDR code has no TMCDR."""

    mapping: Literal["linear", "mlp"] = "linear"
    """``linear``: one matrix, no bias. ``mlp``: one hidden tanh layer."""
    hidden_dim: int = Field(default=20, ge=1)
    """Of ``mlp``."""
    inner_lr: float = Field(default=0.01, gt=0.0)
    """Of the plain gradient step between the two phases."""
    batch_size: int = Field(default=64, ge=1)
    """Users of each phase; never more than half of the training users."""


class TMCDR(LearnedModel[TMCDRConfig]):
    """Task-oriented: as in MAML, the loss is that of *other* users after a step on some.

    Each update takes two groups of overlap users. In the learning phase the mapping makes one gradient step, by the
    task loss of the first group; in the cold-start phase the second group's task loss under that step is what the
    mapping itself descends, through the step (section 3.3 of its paper).
    """

    name = "tmcdr"

    def learner(self, problem: TransferProblem, *, generator: torch.Generator) -> Learner:
        """The squared error of one group's target ratings, after a step on another's."""
        config, base, target = self.config, problem.source_base, problem.target_base
        mapping = mapping_network(config, source_dim=base.dim, target_dim=target.dim, generator=generator)
        ratings = UserRatings.of_overlap(problem)
        source = base.user_vectors[problem.overlap_source]
        optimizer = torch.optim.Adam(mapping.parameters(), lr=config.lr, fused=True)
        size = min(config.batch_size, -(-ratings.count("users") // 2))

        def after_a_step(learning: Batch, cold: Batch) -> torch.Tensor:
            names, weights = zip(*mapping.named_parameters(), strict=True)
            learnt = task_loss(mapping(source[learning.users]), learning, target)
            slopes = torch.autograd.grad(learnt, weights, create_graph=True)
            stepped = {
                name: weight - config.inner_lr * slope
                for name, weight, slope in zip(names, weights, slopes, strict=True)
            }
            return task_loss(functional_call(mapping, stepped, (source[cold.users],)), cold, target)

        def train_epoch(generator: torch.Generator) -> dict[str, float]:
            batches = list(ratings.batches("users", batch_size=size, generator=generator))
            if len(batches) % 2:
                batches.append(batches[0])  # nobody is left without a group to be held against
            total = torch.zeros((), dtype=torch.float64)
            pairs = list(zip(batches[::2], batches[1::2], strict=True))
            for learning, cold in pairs:
                loss = after_a_step(learning, cold)
                descend(optimizer, loss)
                total += loss.detach()
            return {"task_loss": float(total) / len(pairs)}

        return Learner(
            module=mapping,
            transfer=mapping,
            is_affine=config.mapping == "linear",
            inputs=lambda: base.user_vectors,
            head=target.head,
            optimizers=[optimizer],
            train_epoch=train_epoch,
            rows=ratings.count("users"),
            data=[source, target.item_vectors, ratings.users, ratings.items, ratings.ratings],
        )
