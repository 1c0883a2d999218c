"""One epoch of DiffCDR's training: DIM and ALM updated in turn in each batch (paper, Alg. 1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from training.models.batching import Batch, UserRatings
from training.models.diffusion.sampler import Sampler
from training.models.diffusion.schedule import make_schedule
from training.models.network.config import DiffCDRConfig
from training.models.network.network import DiffCDRNetwork, solver_plan
from training.models.objectives import LOSSES, task_loss
from training.problem import TransferProblem


class AlternatingUpdates:
    """Alg. 1, lines 6 to 11: the DIM's update, then the solver without gradient, then the ALM's update.

    Losses are means over rows and dimensions, where the paper sums over dimensions; the factor k is lambda's to make
    up. Each module has an Adam of its own. The released code has one for both, which takes both steps: a step moves
    only the weights that its loss reaches, so that is the same to the bit.
    """

    def __init__(
        self, network: DiffCDRNetwork, config: DiffCDRConfig, *, problem: TransferProblem, draws: Tensor | None = None
    ) -> None:
        """``draws`` [n_source_users, plan.draws * k]: what the sampler draws for each user; None for nothing."""
        self._network = network
        self._config = config
        self._ratings = UserRatings.of_overlap(problem)
        self._source = problem.source_base.user_vectors[problem.overlap_source]
        self._draws = None if draws is None else draws[problem.overlap_source]
        self._target = problem.target_base.user_vectors[problem.overlap_target]
        self._items = problem.target_base
        self._schedule = make_schedule(config.schedule)
        self._plan = solver_plan(config)
        self._groups = [list(network.noise_predictor.parameters()), list(network.alignment.parameters())]
        self.optimizers = [torch.optim.Adam(group, lr=config.lr, fused=True) for group in self._groups]

    @property
    def rows(self) -> int:
        """Rows of one epoch."""
        return self._ratings.count(self._config.rows)

    def data(self) -> list[Tensor]:
        """All that an epoch reads."""
        ratings = self._ratings
        return [self._source, self._target, self._items.item_vectors, ratings.users, ratings.items, ratings.ratings]

    def epoch(self, generator: torch.Generator) -> dict[str, float]:
        """Go through the rows once; the mean of each loss."""
        config = self._config
        totals = torch.zeros(3, dtype=torch.float64)
        for batch in self._ratings.batches(config.rows, batch_size=config.batch_size, generator=generator):
            totals += self._step(batch, generator) * len(batch.users)
        dim_loss, alm_loss, of_task = (totals / self.rows).tolist()
        return {"dim_loss": dim_loss, "alm_loss": alm_loss, "task_loss": of_task}

    def _step(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """One batch; its three losses."""
        source, target = self._source[batch.users], self._target[batch.users]
        dim_loss = self._dim_loss(source, target, generator)
        inputs = source if self._draws is None else torch.cat([source, self._draws[batch.users]], dim=1)
        return self._learn_from(dim_loss, inputs, target, lambda aligned: task_loss(aligned, batch, self._items))

    def _learn_from(self, dim_loss: Tensor, inputs: Tensor, target: Tensor, task: Callable[[Tensor], Tensor]) -> Tensor:
        """All three losses of one batch, descended; ``inputs``: the sampler's, ``task``: of aligned vectors [B, k]."""
        config = self._config
        self._descend(0, dim_loss)
        aligned = self._network.alignment(self._solved(inputs))
        alm_loss = LOSSES[config.alm_loss](aligned, target)
        of_task = task(aligned)
        self._descend(1, alm_loss + config.task_weight * of_task)
        return torch.stack([dim_loss, alm_loss, of_task]).detach().double()

    def _dim_loss(self, source: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
        """Eq. 5, with the condition of a share of the rows masked."""
        t, noise, kept = self._draw(len(target), generator)
        state = self._schedule(t)
        noisy = state.alpha.float()[:, None] * target + state.sigma.float()[:, None] * noise
        return LOSSES[self._config.dim_loss](self._network.noise_predictor(noisy, t, source, kept=kept), noise)

    def _draw(self, rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Of one batch: times [B], noise [B, k], and whether a row keeps its condition, bool [B, 1]."""
        config = self._config
        t = self._schedule.draw_times(rows, end_time=config.end_time, antithetic=config.antithetic, generator=generator)
        noise = torch.randn(rows, self._target.shape[1], generator=generator)
        return t, noise, torch.rand(rows, 1, generator=generator) >= config.condition_dropout

    @torch.no_grad()
    def _solved(self, inputs: Tensor) -> Tensor:
        """Eq. 4: the solver's answer for ``inputs``, those of :class:`~training.models.diffusion.sampler.Sampler`."""
        sampler = Sampler(
            self._network.noise_predictor,
            self._plan,
            guidance_scale=self._config.guidance_scale,
            initial_state=self._network.initial_state,
            alignment=nn.Identity(),
        )
        solved: Tensor = sampler(inputs)
        return solved

    def _descend(self, group: int, loss: Tensor) -> None:
        optimizer = self.optimizers[group]
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        if self._config.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._groups[group], self._config.clip_norm)
        optimizer.step()
