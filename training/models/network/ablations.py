"""DiffCDR with a part left out (paper, section 4.3): DA without the task, AT without the diffusion.

The paper describes AT as "ALM and task loss learning" and groups it under task-oriented learning. Whether the ALM keeps
its own loss is not said, so both readings are models. DAT, with all three, is
:class:`~training.models.network.model.DiffCDR`.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from training.models.batching import UserRatings
from training.models.diffusion.folding import check_initial_state
from training.models.epoch_model import LearnedModel, Learner
from training.models.network.config import DiffCDRConfig
from training.models.network.model import DiffCDR
from training.models.network.network import alignment_module
from training.models.objectives import LOSSES, task_loss
from training.problem import TransferProblem


class DiffCDRWithoutTask(DiffCDR):
    """DA: diffusion and alignment; n = 2 in Eq. 6 and lambda = 0 in Eq. 7, whatever the settings say."""

    name = "diffcdr-da"

    def __init__(self, config: DiffCDRConfig) -> None:
        super().__init__(config.model_copy(update={"task_weight": 0.0, "alm_loss": "l2"}))


class DiffCDRWithoutDiffusion(LearnedModel[DiffCDRConfig]):
    """AT: the ALM on the source vector itself, with the alignment and task losses of Eq. 7."""

    name = "diffcdr-at"
    aligns: ClassVar[bool] = True
    """Whether the loss is that of Eq. 7, or its task loss alone."""

    def learner(self, problem: TransferProblem, *, generator: torch.Generator) -> Learner:
        """Alg. 1, line 10, with u_s in the place of the solver's answer."""
        config, base = self.config, problem.target_base
        check_initial_state(problem.source_base.dim, base.dim, None)
        alignment = alignment_module(base.dim, generator=generator)
        source = problem.source_base.user_vectors[problem.overlap_source]
        target = base.user_vectors[problem.overlap_target]
        ratings = UserRatings.of_overlap(problem)
        rows = ratings.count(config.rows)
        optimizer = torch.optim.Adam(alignment.parameters(), lr=config.lr, fused=True)

        def train_epoch(generator: torch.Generator) -> dict[str, float]:
            totals = torch.zeros(2, dtype=torch.float64)
            for batch in ratings.batches(config.rows, batch_size=config.batch_size, generator=generator):
                aligned = alignment(source[batch.users])
                losses = torch.stack(
                    [LOSSES[config.alm_loss](aligned, target[batch.users]), task_loss(aligned, batch, base)]
                )
                optimizer.zero_grad()
                torch.autograd.backward(losses[0] + config.task_weight * losses[1] if self.aligns else losses[1])
                if config.clip_norm is not None:
                    nn.utils.clip_grad_norm_(alignment.parameters(), config.clip_norm)
                optimizer.step()
                totals += losses.detach() * len(batch.users)
            alm_loss, of_task = (totals / rows).tolist()
            return {"alm_loss": alm_loss, "task_loss": of_task}

        return Learner(
            module=alignment,
            transfer=alignment,
            is_affine=True,
            inputs=lambda: problem.source_base.user_vectors,
            head=base.head,
            optimizers=[optimizer],
            train_epoch=train_epoch,
            rows=rows,
            data=[source, target, base.item_vectors, ratings.users, ratings.items, ratings.ratings],
        )


class DiffCDRTaskAlone(DiffCDRWithoutDiffusion):
    """AT in its other reading: the ALM on the source vector, by the task loss alone, whatever lambda is."""

    name = "diffcdr-at-task"
    aligns = False
