"""The exact fold of an affine transfer: guidance, every solver step and the ALM become one ``source @ A + b``.

Without activation the DIM is affine, eps = (x + T(t) + C(c)) P + p, and so is every step of the solver. The chain
is therefore known from its values at the zero vector and at the basis: k + 1 rows, pushed through in float64. The
collapsed DIM makes each of them a k x k product, so a fold costs well under a millisecond and stands in for the
solver during training too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from diffcdr.errors import InputError
from training.models.dim import NoisePredictor, sinusoidal
from training.models.schedule import time_labels
from training.models.solver import SolverPlan, Stage, solve

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AffineMap:
    """``source @ matrix + offset``; float64 [source_dim, target_dim] and [target_dim]."""

    matrix: Float64Array
    offset: Float64Array

    def then(self, layer: nn.Linear) -> AffineMap:
        """This map, then ``layer`` (which has no bias)."""
        weight = _array(layer.weight)
        return AffineMap(self.matrix @ weight.T, self.offset @ weight.T)


class Folder:
    """Folds a DIM's transfer for one plan; what depends on the plan alone is computed once."""

    def __init__(self, plan: SolverPlan, *, guidance_scale: float, time_features: int) -> None:
        self._plan = plan
        self._scale = guidance_scale
        times = torch.tensor([stage.t for stage in plan.stages], dtype=torch.float64)
        self._time_features: Float64Array = sinusoidal(time_labels(times), time_features).numpy()

    def fold(self, predictor: NoisePredictor, *, initial_state: Tensor | None) -> AffineMap:
        """The map from source vectors to solved target vectors, before the ALM.

        ``initial_state`` [target_dim]: x_T for every user; None starts from the source vector.

        Raises:
            InputError: the predictor has an activation, or source and target dimensions differ without an x_T.
        """
        if not predictor.is_affine:
            raise InputError("a DIM with activation does not fold; use activation none or the solver")
        check_initial_state(predictor.source_dim, predictor.target_dim, initial_state)
        product = (
            _array(predictor.first.weight).T @ _array(predictor.second.weight).T @ _array(predictor.third.weight).T
        )
        hidden = _array(predictor.first.bias) @ _array(predictor.second.weight).T + _array(predictor.second.bias)
        constant = hidden @ _array(predictor.third.weight).T + _array(predictor.third.bias)

        # The k + 1 rows: the basis of the source space, then zero. Guidance scales the condition's linear part only.
        rows = np.eye(predictor.source_dim + 1, predictor.source_dim)
        condition = self._scale * rows @ _array(predictor.condition_linear.weight).T
        condition += _array(predictor.condition_linear.bias)
        times = self._time_features @ _array(predictor.time_linear.weight).T + _array(predictor.time_linear.bias)
        terms = (condition + times[:, None, :]) @ product + constant

        def noise(x: Float64Array, stage: Stage) -> Float64Array:
            predicted: Float64Array = x @ product
            predicted += terms[stage.index]
            return predicted

        start = rows if initial_state is None else np.tile(_array(initial_state), (len(rows), 1))
        values = solve(noise, start, self._plan)
        return AffineMap(values[:-1] - values[-1], values[-1])


def check_initial_state(source_dim: int, target_dim: int, initial_state: Tensor | None) -> None:
    """Raises InputError where x_T = u_s is asked for and the two spaces differ in dimension."""
    if initial_state is None and source_dim != target_dim:
        raise InputError(
            f"initial_state source needs equal dimensions, but the source has {source_dim} and the target has "
            f"{target_dim}; set initial_state = gaussian, or train both base models with the same dim and biases"
        )


def _array(tensor: Tensor) -> Float64Array:
    return tensor.detach().numpy().astype(np.float64)
