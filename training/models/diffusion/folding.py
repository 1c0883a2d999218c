"""The exact fold of an affine transfer: guidance, every solver step and the ALM become one ``source @ A + b``.

Without activation the DIM is affine, eps = x P + g(c) + h(t), and so is every step of the solver. The chain is
therefore known from its values at the zero vector and at the basis: k + 1 rows, in float64.

The solver's own weights depend on the plan alone, so each of these rows is a polynomial in P,

    sum_j (a_j x_T + b_j g + sum_i c_ij h(t_i)) P^j,      j from 0 to NFE,

whose coefficients are computed once, by running the solver on polynomials. Each draw of a stochastic sampler adds a row
of terms. A fold is then only NFE products of k x k matrices (Horner), fast enough to replace the solver in every
training step. If P is so large that terms could cancel, the rows go through the solver stage by stage.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from diffcdr.arrays import Float64Array
from diffcdr.errors import InputError
from training.models.diffusion.dim import NoisePredictor, sinusoidal
from training.models.diffusion.schedule import time_labels
from training.models.diffusion.solver import SolverPlan, Stage, solve
from training.setting_types import TimeFrequencies

ROUNDING_LIMIT = 1e-7
"""Largest bound on the rounding error of a fold by Horner, in units of x_T, g and h; float32 has some 1e-5."""


@dataclass(frozen=True)
class AffineMap:
    """``source @ matrix + offset``; float64 [inputs, target_dim] and [target_dim].

    The inputs are a source vector and then all draws of the sampler for the user: together
    ``source_dim + draws * target_dim``.
    """

    matrix: Float64Array
    offset: Float64Array

    def then(self, layer: nn.Linear) -> AffineMap:
        """This map, then ``layer`` (which has no bias)."""
        weight = _array(layer.weight)
        return AffineMap(self.matrix @ weight.T, self.offset @ weight.T)


class Folder:
    """Folds a DIM's transfer for one plan; everything that depends only on the plan is computed once."""

    def __init__(
        self,
        plan: SolverPlan,
        *,
        guidance_scale: float,
        time_features: int,
        time_frequencies: TimeFrequencies = "over_half",
    ) -> None:
        self._plan = plan
        self._scale = guidance_scale
        times = torch.tensor([stage.t for stage in plan.stages], dtype=torch.float64)
        self._time_features: Float64Array = sinusoidal(time_labels(times), time_features, time_frequencies).numpy()
        self._coefficients = _solved_polynomials(plan)
        self._sizes = np.abs(self._coefficients).sum(axis=0)

    def fold(self, predictor: NoisePredictor, *, initial_state: Tensor | None) -> AffineMap:
        """The map from source vectors to solved target vectors, before the ALM.

        ``initial_state`` [target_dim]: x_T for every user; None starts from the source vector.

        Raises:
            InputError: the predictor has an activation, or source and target dimensions differ without an x_T.
        """
        if not predictor.is_affine:
            raise InputError("a DIM with activation does not fold; use activation none or the solver")
        check_initial_state(predictor.source_dim, predictor.target_dim, initial_state)
        first, second, third = predictor.first, predictor.second, predictor.third
        second_weight, third_weight = _array(second.weight).T, _array(third.weight).T
        product = _array(first.weight).T @ second_weight @ third_weight
        hidden = _array(first.bias) @ second_weight + _array(second.bias)
        constant = hidden @ third_weight + _array(third.bias)

        # The rows: the basis of the source space, that of every draw, then zero. Guidance scales the condition's
        # whole term, since the branch without condition does not have it.
        count = predictor.source_dim + self._plan.draws * predictor.target_dim + 1
        rows = np.eye(count, predictor.source_dim)
        condition = rows @ _array(predictor.condition_linear.weight).T + _array(predictor.condition_linear.bias)
        condition *= self._scale
        times = self._time_features @ _array(predictor.time_linear.weight).T + _array(predictor.time_linear.bias)
        start = rows if initial_state is None else np.tile(_array(initial_state), (len(rows), 1))
        sizes = np.abs(product)
        norm = np.sqrt(sizes.sum(axis=0).max() * sizes.sum(axis=1).max())  # a cheap upper bound on the spectral norm
        rounding = 2.0**-53 * (self._sizes @ norm ** np.arange(len(self._sizes)))
        way = self._by_horner if rounding <= ROUNDING_LIMIT else self._by_stages
        drawn = slice(predictor.source_dim, -1)
        values = way(start, condition @ product + constant, times @ product, product, drawn=drawn)
        return AffineMap(values[:-1] - values[-1], values[-1])

    def _by_horner(
        self,
        start: Float64Array,
        condition: Float64Array,
        times: Float64Array,
        product: Float64Array,
        *,
        drawn: slice,
    ) -> Float64Array:
        """The solved rows [R, k], by the polynomial of the module's docstring; ``drawn``: the rows of draws."""
        of_start, of_condition, of_times, of_draws = np.split(self._coefficients, [1, 2, 2 + len(times)])
        of_start, of_condition = of_start[0], of_condition[0]
        terms = of_start[:, None, None] * start + of_condition[:, None, None] * condition
        terms += (of_times.T @ times)[:, None, :]
        if len(of_draws):
            basis = of_draws.T[:, :, None, None] * np.eye(len(product))  # [powers, draws, k, k]
            terms[:, drawn] += basis.reshape(len(terms), -1, len(product))
        values: Float64Array = terms[-1].copy()
        scratch = np.empty_like(values)
        for term in terms[-2::-1]:
            np.matmul(values, product, out=scratch)
            np.add(scratch, term, out=values)
        return values

    def _by_stages(
        self,
        start: Float64Array,
        condition: Float64Array,
        times: Float64Array,
        product: Float64Array,
        *,
        drawn: slice,
    ) -> Float64Array:
        """The same, by running the solver."""

        def noise(x: Float64Array, stage: Stage) -> Float64Array:
            predicted: Float64Array = x @ product + condition + times[stage.index]
            return predicted

        draws = np.zeros((len(start), self._plan.draws, len(product)))
        draws.reshape(len(start), -1)[drawn] = np.eye(draws[0].size)
        return solve(noise, start, self._plan, draws=list(draws.swapaxes(0, 1)))


def _solved_polynomials(plan: SolverPlan) -> Float64Array:
    """The solver's result for x_T, g, h(t_0), h(t_1), … and its draws: a polynomial in P for each.

    Shape [2 + NFE + draws, 1 + NFE]. Entry [s, j] is the coefficient of P^j of symbol s. An evaluation x P + g + h
    moves all coefficients up by one power and adds 1 to the constants of g and of its time.
    """
    count = len(plan.stages)

    def noise(x: Float64Array, stage: Stage) -> Float64Array:
        predicted = np.zeros_like(x)
        predicted[:, 1:] = x[:, :-1]
        predicted[[1, 2 + stage.index], 0] += 1.0
        return predicted

    symbols = np.zeros((2 + count + plan.draws, 2 + count + plan.draws, 1 + count))
    symbols[np.arange(len(symbols)), np.arange(len(symbols)), 0] = 1.0
    return solve(noise, symbols[0], plan, draws=list(symbols[2 + count :]))


def check_initial_state(source_dim: int, target_dim: int, initial_state: Tensor | None) -> None:
    """Raises InputError if x_T = u_s is requested and the two spaces differ in dimension."""
    if initial_state is None and source_dim != target_dim:
        raise InputError(
            f"initial_state source needs equal dimensions, but the source has {source_dim} and the target has "
            f"{target_dim}; set initial_state = gaussian, or train both base models with the same dim and biases"
        )


def _array(tensor: Tensor) -> Float64Array:
    return tensor.detach().numpy().astype(np.float64)
