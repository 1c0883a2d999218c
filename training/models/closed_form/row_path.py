"""Ridge regression of whole target rows on conditions, at many strengths, and the main directions of its answers.

With the centred conditions X = R Q' (Q the eigenvectors of X'X, its eigenvalues e), the ridge answers to the training
users are R diag(1 / (e + g)) M with M = R'T, [d, m], which no strength changes. Their main directions are those of
diag(s) M with s = sqrt(e) / (e + g): eigenvectors of a [d, d] matrix, M M' scaled on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from diffcdr.arrays import Float32Array, Float64Array
from training.models.closed_form.ridge_path import SMALLEST
from training.models.closed_form.target_rows import TargetRows

LEAST_SHARE = 1e-9
"""Directions with less than this share of the first one's variance are left out: nothing but rounding."""


class Conditions:
    """Conditions of training users [n, d], rotated on their main directions once for all strengths."""

    def __init__(self, rows: Float64Array) -> None:
        self._mean = rows.mean(axis=0)
        centred = rows - self._mean
        values, self.directions = np.linalg.eigh(centred.T @ centred)
        self.values = np.maximum(values, 0.0)
        self._unit = max(float(self.values.mean()), SMALLEST)
        self.rotated: Float64Array = centred @ self.directions

    def place(self, rows: Float64Array) -> Float64Array:
        """Conditions [q, d] of other users, in the same directions."""
        placed: Float64Array = (rows - self._mean) @ self.directions
        return placed

    def shrink(self, strength: float) -> Float64Array:
        """1 / (e + g), g = ``strength`` in mean eigenvalues."""
        shrunk: Float64Array = 1.0 / (self.values + strength * self._unit)
        return shrunk

    def unplace(self, matrix: Float64Array) -> tuple[Float64Array, Float64Array]:
        """(A [d, k], b [k]) on conditions as they are, of ``matrix`` [d, k] on placed ones."""
        turned = self.directions @ matrix
        return turned, -self._mean @ turned


@dataclass(frozen=True)
class Space:
    """k main directions of the answers: items V = M' ``loading``, orthonormal columns.

    ``loading`` [d, k]; ``targets`` [n, k]: the training users' rows T V.
    """

    loading: Float64Array
    targets: Float64Array

    def first(self, dim: int) -> Space:
        """The first ``dim`` directions."""
        return Space(self.loading[:, :dim], self.targets[:, :dim])


class RowPath:
    """All ridge answers to one set of training users."""

    def __init__(self, conditions: Conditions, rows: TargetRows) -> None:
        self.conditions = conditions
        self.mean = rows.mean()
        self.products: Float32Array = rows.combined(conditions.rotated).astype(np.float32)
        self._rows = rows
        self._spaces: dict[float, Space] = {}

    @cached_property
    def gram(self) -> Float64Array:
        """M M', [d, d]."""
        wide = self.products.astype(np.float64)
        gram: Float64Array = wide @ wide.T
        return gram

    @cached_property
    def _images(self) -> Float64Array:
        return self._rows.projected(self.products.T.astype(np.float64))

    def answers(self, placed: Float64Array, strength: float) -> Float32Array:
        """Predicted rows [q, m] less the average row."""
        weights = (placed * self.conditions.shrink(strength)).astype(np.float32)
        found: Float32Array = weights @ self.products
        return found

    def space(self, strength: float, dim: int) -> Space:
        """The ``dim`` main directions of the answers at ``strength``, fewer where there are no more."""
        if strength not in self._spaces:
            self._spaces[strength] = self._all_directions(strength)
        return self._spaces[strength].first(dim)

    def items(self, space: Space) -> Float64Array:
        """V [m, k] of ``space``."""
        vectors: Float64Array = self.products.T.astype(np.float64) @ space.loading
        return vectors

    def _all_directions(self, strength: float) -> Space:
        scale = np.sqrt(self.conditions.values) * self.conditions.shrink(strength)
        values, vectors = np.linalg.eigh(self.gram * np.outer(scale, scale))
        order = np.argsort(-values, kind="stable")
        least = max(float(values.max()) * LEAST_SHARE, SMALLEST)
        order = order[: max(1, int(np.count_nonzero(values > least)))]
        loading = scale[:, None] * vectors[:, order] / np.sqrt(np.maximum(values[order], SMALLEST))
        # An eigenvector's sign is arbitrary: its largest entry is taken as positive.
        largest = loading[np.argmax(np.abs(loading), axis=0), np.arange(loading.shape[1])]
        loading = loading * np.where(largest < 0.0, -1.0, 1.0)
        return Space(loading, self._images @ loading)
