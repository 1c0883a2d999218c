"""The ALM in closed form: Eq. 6 with n = 2, the task loss of Eq. 7, and a penalty on the distance from the identity."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg

from diffcdr.arrays import Float64Array

ITERATIONS = 15
"""Of conjugate gradients, from the identity: each goes through the interactions once."""


@dataclass(frozen=True)
class TaskLoss:
    """The base model's own loss on the training overlap users' interactions, over all items.

    sum_ij c_ij (p_ij - v_j . (mean + w_i))^2, w_i user i's aligned deviation, c ``confidence`` where p = 1, else 1.
    In units of the mean eigenvalue of the items' Gram matrix, so that ``weight`` (lambda of Eq. 7) compares with the
    squared distances of Eq. 6.

    ``items`` [m, k]; ``interactions`` binary [n, m]; ``mean`` [k].
    """

    weight: float
    items: Float64Array
    interactions: sparse.csr_array
    confidence: float
    mean: Float64Array

    def curvature(self, vectors: Float64Array) -> Float64Array:
        """sum_j c_ij (v_j . x_i) v_j for each row x_i of ``vectors`` [n, k]."""
        own = self.interactions
        rows = np.repeat(np.arange(own.shape[0]), np.diff(own.indptr))
        products = np.einsum("rk,rk->r", vectors[rows], self.items[own.indices])
        extra = sparse.csr_array(((self.confidence - 1.0) * products, own.indices, own.indptr), shape=own.shape)
        total: Float64Array = vectors @ self.gram + extra @ self.items
        return total

    def pull(self) -> Float64Array:
        """The negative gradient (halved) at w = 0, [n, k]."""
        mean = np.broadcast_to(self.mean, (self.interactions.shape[0], len(self.mean)))
        return self.confidence * (self.interactions @ self.items) - self.curvature(mean)

    @cached_property
    def gram(self) -> Float64Array:
        """The items' Gram matrix [k, k]."""
        gram: Float64Array = self.items.T @ self.items
        return gram

    @cached_property
    def scale(self) -> float:
        """``weight`` over the mean eigenvalue of the Gram matrix."""
        unit = float(np.trace(self.gram)) / len(self.mean)
        return self.weight / unit if unit > 0 else 0.0


def fit_alignment(
    solved: Float64Array, targets: Float64Array, *, prior: float, task: TaskLoss | None = None
) -> Float64Array:
    """argmin_W  |targets - solved W|^2 + task loss of (solved W) + prior g |W - I|^2, W [k, k].

    ``solved``, ``targets`` [n, k]: deviations from the average user. g: the mean eigenvalue of solved' solved.
    """
    dim = solved.shape[1]
    identity = np.eye(dim)
    gram = solved.T @ solved
    strength = prior * max(float(np.trace(gram)) / dim, np.finfo(np.float64).tiny)
    left = gram + strength * identity
    right = solved.T @ targets + strength * identity
    if task is None or task.scale == 0.0:
        return np.asarray(np.linalg.solve(left, right), dtype=np.float64)

    def curvature(flat: Float64Array) -> Float64Array:
        matrix = flat.reshape(dim, dim)
        product: Float64Array = left @ matrix + task.scale * (solved.T @ task.curvature(solved @ matrix))
        return product.ravel()

    operator = LinearOperator((dim * dim, dim * dim), matvec=curvature, dtype=np.float64)
    wanted = (right + task.scale * (solved.T @ task.pull())).ravel()
    answer, _ = cg(operator, wanted, x0=identity.ravel(), maxiter=ITERATIONS, rtol=1e-10)
    return np.asarray(answer, dtype=np.float64).reshape(dim, dim)
