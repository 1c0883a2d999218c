"""One epoch of Alg. 1 for a DIM without activation: the same updates, with explicit gradients.

Without activation everything in a step is a product of small matrices, and what eager autograd costs is not the
arithmetic but the calls: some hundred a batch, on arrays of 128 rows. Three things take them away.

1. The solver of line 9 is the folded map of that step (:mod:`training.models.diffusion.folding`).
2. The DIM is out = e (W_3 W_2 W_1)^T + const, e = x_t + T(t) + kept C(c). With d = dL/d out [B, k] every gradient
   comes from d^T e, the column sums of d, and products of weights: no array of B x hidden is ever made. With
   h_1 = e W_1^T + b_1 and h_2 = h_1 W_2^T + b_2:

       dW_3 = d^T h_2 = (d^T h_1) W_2^T + s b_2^T          s = sum of d's rows; d^T h_1 = (d^T e) W_1^T + s b_1^T
       dW_2 = W_3^T (d^T h_1)          db_2 = W_3^T s
       dW_1 = (W_3 W_2)^T (d^T e)      db_1 = (W_3 W_2)^T s
       dL/de = d W_3 W_2 W_1, from which the time's and the condition's layers get theirs

3. Times, noise and masks are drawn batch by batch, in the order of the plain loop, and what follows from them
   (schedule, time features, noisy vectors) is computed for ``GROUP`` batches at once.

Clipping and Adam are those of the plain loop. :class:`~training.models.network.alternating.AlternatingUpdates` is the
oracle: gradients agree to float32 rounding (4e-7 relative), and the random stream is the same to the last draw. Where
the signs of an L1 loss sum to zero, Adam makes a whole step of what rounding leaves, so later steps may part further.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from diffcdr.arrays import Float32Array
from training.models.batching import Batch
from training.models.diffusion.dim import sinusoidal
from training.models.diffusion.schedule import time_labels
from training.models.network.alternating import AlternatingUpdates
from training.models.network.config import DiffCDRConfig
from training.models.network.network import DiffCDRNetwork, folder
from training.problem import TransferProblem
from training.setting_types import LossName

GROUP = 64
"""Batches whose draws are worked up together: enough to share the calls, few enough to stay small in memory."""
ADAM_STATE = ("exp_avg", "exp_avg_sq", "step")
CLIP_EPSILON = 1e-6
"""As ``torch.nn.utils.clip_grad_norm_``."""


@dataclass(frozen=True)
class _Rows:
    """What a DIM update reads of one batch, float32: [B, k] each; ``features`` [B, time_features].

    ``kept`` [B, 1]: 1 where a row has its condition, else 0.
    """

    source: Float32Array
    target: Float32Array
    kept: Float32Array
    noisy: Float32Array
    noise: Float32Array
    features: Float32Array


class AffineUpdates(AlternatingUpdates):
    """Alg. 1, lines 6 to 11, of a DIM that is affine."""

    def __init__(
        self, network: DiffCDRNetwork, config: DiffCDRConfig, *, problem: TransferProblem, draws: Tensor | None = None
    ) -> None:
        super().__init__(network, config, problem=problem, draws=draws)
        self._folder = folder(config)
        # Gradients of one optimiser lie side by side, so that clipping is one dot product.
        self._flat = [_flat_gradients(group) for group in self._groups]
        predictor = network.noise_predictor
        self._layers = {
            name: _Layer(layer)
            for name, layer in [
                ("time", predictor.time_linear),
                ("condition", predictor.condition_linear),
                ("first", predictor.first),
                ("second", predictor.second),
                ("third", predictor.third),
            ]
        }
        self._steps: list[_AdamStep] = []
        self._alignment = _array(network.alignment.weight)
        self._alignment_gradient = _gradient(network.alignment.weight)
        self._item_vectors = _array(self._items.item_vectors)
        self._item_levels = _array(self._items.item_biases) + np.float32(self._items.offset)

    def epoch(self, generator: torch.Generator) -> dict[str, float]:
        """Go through the rows once; the mean of each loss."""
        config = self._config
        totals = np.zeros(3)
        batches = self._ratings.batches(config.rows, batch_size=config.batch_size, generator=generator)
        self._steps = [_AdamStep(optimizer) for optimizer in self.optimizers]
        for batch, rows in self._worked_up(batches, generator):
            totals += np.array(self._losses(batch, rows)) * len(rows.source)
        dim_loss, alm_loss, of_task = (totals / self.rows).tolist()
        return {"dim_loss": dim_loss, "alm_loss": alm_loss, "task_loss": of_task}

    def _worked_up(self, batches: Iterator[Batch], generator: torch.Generator) -> Iterator[tuple[Batch, _Rows]]:
        """Each batch with its noise: drawn in the plain loop's order, worked up ``GROUP`` batches at a time."""
        config, schedule = self._config, self._schedule
        while group := [(batch, *self._draw(len(batch.users), generator)) for batch in islice(batches, GROUP)]:
            users, t, noise, kept = (
                torch.cat(parts) for parts in zip(*[(batch.users, *drawn) for batch, *drawn in group], strict=True)
            )
            source, target = self._source[users], self._target[users]
            state = schedule(t)
            noisy = state.alpha.float()[:, None] * target + state.sigma.float()[:, None] * noise
            features = sinusoidal(time_labels(t), config.time_features, config.time_frequencies).float()
            columns = [_array(value) for value in (source, target, kept.float(), noisy, noise, features)]
            first = 0
            for batch, *_ in group:
                part = slice(first, first + len(batch.users))
                first = part.stop
                yield batch, _Rows(*(column[part] for column in columns))

    def _losses(self, batch: Batch, rows: _Rows) -> tuple[float, float, float]:
        """Update on one batch; its three losses before."""
        dim_loss = self._dim_gradients(rows)
        self._update(0)
        folded = self._folder.fold(self._network.noise_predictor, initial_state=self._network.initial_state)
        matrix, offset = folded.matrix.astype(np.float32), folded.offset.astype(np.float32)
        width = rows.source.shape[1]
        solved = rows.source @ matrix[:width] + offset
        if self._draws is not None:
            solved += _array(self._draws[batch.users]) @ matrix[width:]
        alm_loss, of_task = self._alignment_gradients(batch, rows, solved)
        self._update(1)
        return dim_loss, alm_loss, of_task

    def _dim_gradients(self, rows: _Rows) -> float:
        """Eq. 5 and its gradients, as the module's text derives them."""
        time, condition, first, second, third = self._layers.values()
        entered = rows.noisy + (rows.features @ time.weight.T + time.bias)
        entered += rows.kept * (rows.source @ condition.weight.T + condition.bias)
        upper = third.weight @ second.weight
        product = upper @ first.weight
        constant = upper @ first.bias + third.weight @ second.bias + third.bias
        loss, slopes = _loss(self._config.dim_loss, entered @ product.T + constant, rows.noise)
        total = slopes.sum(axis=0)
        crossed = slopes.T @ entered
        hidden = crossed @ first.weight.T + total[:, None] * first.bias
        third.set(hidden @ second.weight.T + total[:, None] * second.bias, total)
        second.set(third.weight.T @ hidden, third.weight.T @ total)
        first.set(upper.T @ crossed, upper.T @ total)
        into = slopes @ product
        time.set(into.T @ rows.features, total @ product)
        into *= rows.kept
        condition.set(into.T @ rows.source, into.sum(axis=0))
        return loss

    def _alignment_gradients(self, batch: Batch, rows: _Rows, solved: Float32Array) -> tuple[float, float]:
        """Eq. 7 and its gradient: the alignment loss, then the task loss."""
        aligned = solved @ self._alignment.T
        alm_loss, slopes = _loss(self._config.alm_loss, aligned, rows.target)
        rated, items = batch.rated.numpy(), batch.items.numpy()
        vectors = self._item_vectors[items]
        errors = np.einsum("rk,rk->r", aligned[rated], vectors) + self._item_levels[items] - _array(batch.ratings)
        pulls = vectors * (errors * np.float32(2.0 * self._config.task_weight / max(1, len(errors))))[:, None]
        torch.from_numpy(slopes).index_add_(0, batch.rated, torch.from_numpy(pulls))
        np.matmul(slopes.T, solved, out=self._alignment_gradient)
        return alm_loss, float(errors @ errors) / max(1, len(errors))

    def _update(self, group: int) -> None:
        flat, limit = self._flat[group], self._config.clip_norm
        if limit is not None:
            flat *= min(1.0, limit / (float(np.sqrt(flat @ flat)) + CLIP_EPSILON))
        self._steps[group]()


class _AdamStep:
    """Steps of an optimiser whose parameters, gradients and state stay where they are: gathered once, not every time.

    The state that a first step makes, or a checkpoint brings, is there after one step of the optimiser itself.
    """

    def __init__(self, optimizer: torch.optim.Adam) -> None:
        self._optimizer = optimizer
        self._state: tuple[list[Tensor], ...] | None = None

    @torch.no_grad()
    def __call__(self) -> None:
        """One step."""
        if self._state is None:
            self._optimizer.step()
            (group,) = self._optimizer.param_groups
            self._settings = group
            states = [self._optimizer.state[parameter] for parameter in group["params"]]
            gradients = [parameter.grad for parameter in group["params"]]
            self._state = (group["params"], gradients, *([state[name] for state in states] for name in ADAM_STATE))
            return
        parameters, gradients, means, squares, steps = self._state
        adam(
            parameters,
            gradients,
            means,
            squares,
            [],
            steps,
            fused=True,
            amsgrad=False,
            maximize=False,
            beta1=self._settings["betas"][0],
            beta2=self._settings["betas"][1],
            lr=self._settings["lr"],
            weight_decay=self._settings["weight_decay"],
            eps=self._settings["eps"],
        )


class _Layer:
    """Weight and bias of a linear layer as arrays that share its memory, and where their gradients go."""

    def __init__(self, layer: nn.Linear) -> None:
        self.weight, self.bias = _array(layer.weight), _array(layer.bias)
        self._gradients = _gradient(layer.weight), _gradient(layer.bias)

    def set(self, of_weight: npt.NDArray[np.floating], of_bias: npt.NDArray[np.floating]) -> None:
        """Give the gradients."""
        self._gradients[0][...] = of_weight
        self._gradients[1][...] = of_bias


def _loss(name: LossName, values: npt.NDArray[np.floating], wanted: Float32Array) -> tuple[float, Float32Array]:
    """A mean loss of :data:`~training.models.objectives.LOSSES` and its slope at ``values``, in their shape."""
    errors = values - wanted
    share = np.float32(1.0 / errors.size)
    if name == "l2":
        return float(np.vdot(errors, errors)) * float(share), errors * (np.float32(2.0) * share)
    sizes = np.abs(errors)
    if name == "l1":
        return float(sizes.mean()), np.sign(errors) * share
    # Smooth L1 is e^2 / 2 up to 1 and |e| - 1/2 beyond: with c = clip(e), c (e - c / 2) in both.
    clipped = np.clip(errors, np.float32(-1.0), np.float32(1.0))
    return float((clipped * (errors - np.float32(0.5) * clipped)).mean()), clipped * share


def _flat_gradients(parameters: list[nn.Parameter]) -> Float32Array:
    """One array that holds the gradients of ``parameters``, which from now on are views of it."""
    flat = torch.zeros(sum(parameter.numel() for parameter in parameters))
    for parameter, part in zip(
        parameters, torch.split(flat, [parameter.numel() for parameter in parameters]), strict=True
    ):
        parameter.grad = part.view_as(parameter)
    return _array(flat)


def _gradient(parameter: Tensor) -> Float32Array:
    assert parameter.grad is not None
    return _array(parameter.grad)


def _array(tensor: Tensor) -> Float32Array:
    """The values of ``tensor``, float32, in place."""
    values: Float32Array = tensor.detach().numpy()
    return values
