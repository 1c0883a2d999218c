"""An epoch of Alg. 1 on a torch device, with an affine DIM and batches of ratings: one recorded step, replayed.

Everything random is drawn on the processor in the plain loop's order, so that a seed means the same everywhere, and
what a step reads of it is laid side by side, one row a rating, and sent for many batches at a time. A step is then a
fixed list of kernels on one array [B, width], with nothing to look up, nothing to wait for, and the losses added up
where they are. The solver of line 9 runs on k + 1 rows, as in :mod:`training.models.diffusion.folding`, in float64.
:class:`~training.models.network.alternating.AlternatingUpdates` is the oracle.
"""

from __future__ import annotations

from itertools import islice

import torch
from torch import Tensor, nn

from bench.device.device import Replayed
from training.models.batching import Batch
from training.models.diffusion.dim import sinusoidal
from training.models.diffusion.schedule import time_labels
from training.models.diffusion.solver import Stage, solve
from training.models.network.alternating import AlternatingUpdates
from training.models.network.config import DiffCDRConfig
from training.models.network.network import DiffCDRNetwork
from training.models.objectives import LOSSES
from training.problem import TransferProblem

GROUP = 512
"""Batches that are sent together: at 128 rows of some 80 columns, 20 MB."""


class DeviceUpdates(AlternatingUpdates):
    """Alg. 1, lines 6 to 11, on ``device``; ``network`` is moved there."""

    def __init__(
        self, network: DiffCDRNetwork, config: DiffCDRConfig, *, problem: TransferProblem, device: torch.device
    ) -> None:
        """``config``: no activation, rows are ratings, x_T is the source vector."""
        super().__init__(network.to(device), config, problem=problem)
        self._device = device
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                # Counts its steps on the device; a step is recorded only so.
                group["capturable"] = device.type == "cuda"
        times = torch.tensor([stage.t for stage in self._plan.stages], dtype=torch.float64)
        self._stage_features = sinusoidal(time_labels(times), config.time_features, config.time_frequencies).to(device)
        dim = self._source.shape[1]
        self._basis = torch.eye(dim + 1, dim, dtype=torch.float64, device=device)
        self._widths = [dim, dim, 1, dim, dim, dim, config.time_features, 1]
        self._step_on_device = Replayed(self._take_step, device)

    def epoch(self, generator: torch.Generator) -> dict[str, float]:
        """Go through the rows once; the mean of each loss."""
        config = self._config
        totals = torch.zeros(3, dtype=torch.float64, device=self._device)
        batches = self._ratings.batches("ratings", batch_size=config.batch_size, generator=generator)
        while group := [self._laid_out(batch, generator) for batch in islice(batches, GROUP)]:
            lengths = [len(rows) for rows in group]
            for rows in torch.split(torch.cat(group).to(self._device), lengths):
                totals += self._step_on_device(rows) * len(rows)
        dim_loss, alm_loss, of_task = (totals / self.rows).tolist()
        return {"dim_loss": dim_loss, "alm_loss": alm_loss, "task_loss": of_task}

    def _laid_out(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """All that a step reads of one batch, drawn noise included: float32 [B, sum of widths], on the processor."""
        users, items = batch.users, batch.items
        t, noise, kept = self._draw(len(users), generator)
        source, target, tables = self._source[users], self._target[users], self._items
        state = self._schedule(t)
        noisy = state.alpha.float()[:, None] * target + state.sigma.float()[:, None] * noise
        features = sinusoidal(time_labels(t), self._config.time_features, self._config.time_frequencies).float()
        left = batch.ratings - tables.item_biases[items] - tables.offset
        columns = [source, target, kept.float(), noisy, noise, tables.item_vectors[items], features, left[:, None]]
        return torch.cat(columns, dim=1)

    def _take_step(self, rows: Tensor) -> Tensor:
        """One batch; its three losses."""
        config, predictor = self._config, self._network.noise_predictor
        source, target, kept, noisy, noise, items, features, left = torch.split(rows, self._widths, dim=1)
        entered = noisy + predictor.time_linear(features) + kept * predictor.condition_linear(source)
        predicted = predictor.third(predictor.second(predictor.first(entered)))
        dim_loss = LOSSES[config.dim_loss](predicted, noise)

        def task(aligned: Tensor) -> Tensor:
            return nn.functional.mse_loss((aligned * items).sum(dim=1), left[:, 0])

        return self._learn_from(dim_loss, source, target, task)

    @torch.no_grad()
    def _solved(self, source: Tensor) -> Tensor:
        """Eq. 4 for ``source``, by the map of this moment: what the solver makes of the basis and of zero."""
        predictor = self._network.noise_predictor

        def layers(x: Tensor) -> Tensor:
            for layer in (predictor.first, predictor.second, predictor.third):
                x = nn.functional.linear(x, layer.weight.double(), layer.bias.double())
            return x

        # The DIM is x P + h: columns of P are what it makes of the basis, less what it makes of zero.
        constant = layers(self._basis.new_zeros(1, self._basis.shape[1]))
        product = layers(self._basis[:-1]) - constant
        layer = predictor.condition_linear
        condition = self._basis @ layer.weight.double().T + layer.bias.double()
        condition = self._config.guidance_scale * condition @ product + constant
        times = self._stage_features @ predictor.time_linear.weight.double().T + predictor.time_linear.bias.double()
        times = times @ product

        def noise(x: Tensor, stage: Stage) -> Tensor:
            return torch.addmm(condition + times[stage.index], x, product)

        values = solve(noise, self._basis, self._plan)
        offset = values[-1]
        return source @ (values[:-1] - offset).float() + offset.float()
