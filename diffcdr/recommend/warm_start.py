"""Warm start: moves a transferred vector by the first target ratings, in closed form (see :class:`WarmSpec`)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from diffcdr.arrays import Float64Array
from diffcdr.bundle.manifest import WarmSpec


class Blend:
    """Maximum a posteriori user vectors against the target items of one model.

    With n ratings the solution is u0 + C V' x. C is the inverse of the system without ratings, and V [n, k] the rated
    items. Each user's system of n unknowns is solved separately, in float64, over the items in row order.
    """

    def __init__(
        self, spec: WarmSpec, vectors: npt.NDArray[np.floating], biases: npt.NDArray[np.floating], *, offset: float
    ) -> None:
        """``vectors`` [m, k], ``biases`` [m], ``offset``: the item side that scores are made with."""
        self._spec, self._vectors, self._biases, self._offset = spec, vectors, biases, offset
        self._gram: Float64Array | None = None
        if spec.kind == "als":
            items: Float64Array = vectors.astype(np.float64)
            self._gram = items.T @ items
            held: Float64Array = self._gram + spec.strength * np.eye(len(self._gram))
            self._inverse = np.asarray(np.linalg.inv(held), dtype=np.float64)

    @property
    def counts_absence(self) -> bool:
        """Whether items without a rating count too."""
        return self._gram is not None

    def __call__(
        self, start: npt.NDArray[np.floating], rows: npt.NDArray[np.integer], ratings: npt.NDArray[np.floating]
    ) -> Float64Array:
        """float64 [k]: ``start`` u0 moved by ``ratings`` of item ``rows``, each row once, ascending.

        Exactly ``start`` without ratings. Values are within the range of float32; the result may exceed it, or be NaN
        if values near its limit leave no solution.
        """
        held: Float64Array = start.astype(np.float64)
        if not len(rows):
            return held
        items: Float64Array = self._vectors[rows].astype(np.float64)
        try:
            if self._gram is not None:
                return held + self._interactions(items, held, gram=self._gram)
            known: Float64Array = ratings.astype(np.float64) - self._offset - self._biases[rows].astype(np.float64)
            left = items @ items.T + self._spec.strength * np.eye(len(rows))
            return held + np.linalg.solve(left, known - items @ held) @ items
        except np.linalg.LinAlgError:  # singular in float64: values near the end of the float range
            return np.full(len(held), np.nan)

    def kept(self, rows: npt.NDArray[np.integer], directions: Float64Array) -> Float64Array:
        """How much of u0 is left in each of ``directions`` [k, n] if item ``rows`` are rated: float64 [k, n].

        The solution is strength M^-1 u0 plus a term independent of u0; this is strength M^-1 ``directions``.
        """
        items: Float64Array = self._vectors[rows].astype(np.float64)
        system = self._spec.strength * np.eye(items.shape[1])
        system += items.T @ items if self._gram is None else self._gram + (self._spec.confidence - 1) * items.T @ items
        return np.asarray(self._spec.strength * np.linalg.solve(system, directions), dtype=np.float64)

    def _interactions(self, items: Float64Array, start: Float64Array, *, gram: Float64Array) -> Float64Array:
        # (gram + (c - 1) V'V + strength) d = pull, by Sherman, Morrison and Woodbury.
        extra = self._spec.confidence - 1.0
        scores = items @ start
        pull = (self._spec.confidence - extra * scores) @ items - gram @ start
        free = self._inverse @ pull
        if extra == 0.0:
            return free
        spread = items @ self._inverse
        weights = np.linalg.solve(np.eye(len(items)) / extra + spread @ items.T, items @ free)
        move: Float64Array = free - weights @ spread
        return move
