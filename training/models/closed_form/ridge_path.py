"""Ridge regression at many strengths from one eigendecomposition, with its leave-one-out predictions."""

from __future__ import annotations

import numpy as np

from diffcdr.arrays import Float64Array

SMALLEST = 1e-12


class RidgePath:
    """argmin_A,b  |y - (x A + b)|^2 + strength g |A|^2, g the mean eigenvalue of the centred x's scatter matrix.

    The offset b is not regularised.
    """

    def __init__(self, inputs: Float64Array, targets: Float64Array) -> None:
        """``inputs`` [n, d], ``targets`` [n, k], n >= 1."""
        self._input_mean, self._target_mean = inputs.mean(axis=0), targets.mean(axis=0)
        self._targets = targets
        centred = inputs - self._input_mean
        self._values, self._directions = np.linalg.eigh(centred.T @ centred)
        self._values = np.maximum(self._values, 0.0)
        self._unit = max(float(self._values.mean()), SMALLEST)
        self._rotated = centred @ self._directions
        self._products = self._rotated.T @ (targets - self._target_mean)

    def fit(self, strength: float) -> tuple[Float64Array, Float64Array]:
        """A [d, k] and b [k]; ``strength`` > 0."""
        matrix = self._directions @ (self._shrink(strength)[:, None] * self._products)
        return matrix, self._target_mean - self._input_mean @ matrix

    def leave_one_out(self, strength: float) -> Float64Array:
        """[n, k]: each row predicted by the fit to all other rows, with g as of all rows.

        By way of the hat matrix h: row i misses by (y_i - fit_i) / (1 - h_ii), exactly. n >= 2.
        """
        shrink = self._shrink(strength)
        leverage = 1.0 / len(self._rotated) + np.square(self._rotated) @ shrink
        fit = self._rotated @ (shrink[:, None] * self._products) + self._target_mean
        left_out: Float64Array = self._targets - (self._targets - fit) / np.maximum(1.0 - leverage, SMALLEST)[:, None]
        return left_out

    def _shrink(self, strength: float) -> Float64Array:
        shrink: Float64Array = 1.0 / (self._values + strength * self._unit)
        return shrink
