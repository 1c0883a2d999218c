"""The base model of interactions: implicit-feedback ALS (Hu, Koren and Volinsky 2008), by the ``implicit`` library."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from implicit.cpu.als import AlternatingLeastSquares
from scipy import sparse
from threadpoolctl import threadpool_limits

from diffcdr.arrays import Float32Array
from training.base_models.config import ALSConfig
from training.fitting.loop import Progress
from training.problem import FactorTables, ImplicitFeedback
from training.rating_table import RatingTable


def fit_als(
    table: RatingTable,
    config: ALSConfig,
    *,
    generator: torch.Generator,
    dim: int | None = None,
    progress: Progress | None = None,
) -> FactorTables:
    """Factorise who has which items.

    ``dim``: k, fewer where there are fewer users or items than that; None for the first that ``config`` names.

    The library alternates with a few steps of conjugate gradients. At the end every user vector is solved exactly
    against the final item vectors, so that it is what a fold-in of the user's items gives. Users and items without
    interactions get zeros.
    """

    def report(iteration: int) -> None:
        if progress is not None:
            progress(epoch=iteration, epochs=config.iterations, rows=len(table), figures={})

    feedback = ImplicitFeedback(confidence=config.confidence, regularisation=config.regularisation)
    users, vectors = factorise(
        interactions(table),
        feedback,
        dim=dim or config.dims()[0],
        iterations=config.iterations,
        seed=draw_seed(generator),
        report=report,
    )
    return FactorTables(
        user_vectors=torch.from_numpy(users),
        item_vectors=torch.from_numpy(vectors),
        item_biases=torch.zeros(table.n_items),
        offset=0.0,
        feedback=feedback,
    )


def factorise(
    items: sparse.csr_array,
    feedback: ImplicitFeedback,
    *,
    dim: int,
    iterations: int,
    seed: int,
    report: Callable[[int], None] = lambda iteration: None,
) -> tuple[Float32Array, Float32Array]:
    """User vectors [n, k] and item vectors [m, k] of ``items``, binary [n, m]; k is ``dim`` or what n and m allow.

    ``report`` is told each iteration's number, from 1, when it is done.
    """
    given = sparse.csr_matrix(items)  # the library knows no sparse arrays

    def callback(iteration: int, seconds: float, loss: float | None) -> None:
        report(iteration + 1)

    # One thread: sums then do not depend on the number of cores, and tables of this size gain little from more.
    with threadpool_limits(limits=1):
        model = _model(feedback, dim=max(1, min(dim, items.shape[0] - 1, items.shape[1] - 1)))
        model.iterations, model.random_state = iterations, seed
        model.fit(given, show_progress=False, callback=callback)
        users = model.recalculate_user(np.arange(items.shape[0]), given)
    return users, np.asarray(model.item_factors)


def half_step(items: sparse.csr_array, vectors: Float32Array, feedback: ImplicitFeedback) -> Float32Array:
    """User vectors [n, k] of ``items`` (binary [n, m]) against item ``vectors`` [m, k], solved exactly."""
    model = _model(feedback, dim=vectors.shape[1])
    model.item_factors = np.ascontiguousarray(vectors)
    with threadpool_limits(limits=1):
        return np.asarray(model.recalculate_user(np.arange(items.shape[0]), sparse.csr_matrix(items)))


def _model(feedback: ImplicitFeedback, *, dim: int) -> AlternatingLeastSquares:
    return AlternatingLeastSquares(
        factors=dim, regularization=feedback.regularisation, alpha=feedback.confidence, num_threads=1
    )


def interactions(table: RatingTable) -> sparse.csr_array:
    """Who has which items: float32 [n_users, n_items], 1 for each rating whatever its value."""
    ones = np.ones(len(table), dtype=np.float32)
    matrix = table.matrix(ones)
    matrix.data[:] = 1.0  # a pair given twice is one interaction
    return matrix


def draw_seed(generator: torch.Generator) -> int:
    """A seed for a library with a random generator of its own, from ``generator``."""
    return int(torch.randint(2**31 - 1, (1,), generator=generator))
