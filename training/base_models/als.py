"""The base model of interactions: implicit-feedback ALS (Hu, Koren and Volinsky 2008), by the ``implicit`` library."""

from __future__ import annotations

import numpy as np
import torch
from implicit.cpu.als import AlternatingLeastSquares
from scipy import sparse
from threadpoolctl import threadpool_limits

from training.base_models.config import ALSConfig
from training.fitting.loop import Progress
from training.problem import FactorTables, ImplicitFeedback, RatingTable


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
    items = sparse.csr_matrix(interactions(table))  # the library knows no sparse arrays
    dim = max(1, min(dim or config.dims()[0], table.n_users - 1, table.n_items - 1))

    def report(iteration: int, seconds: float, loss: float | None) -> None:
        if progress is not None:
            progress(epoch=iteration + 1, epochs=config.iterations, rows=len(table), figures={})

    # One thread: sums then do not depend on the number of cores, and tables of this size gain little from more.
    with threadpool_limits(limits=1):
        model = AlternatingLeastSquares(
            factors=dim,
            regularization=config.regularisation,
            alpha=config.confidence,
            iterations=config.iterations,
            num_threads=1,
            random_state=draw_seed(generator),
        )
        model.fit(items, show_progress=False, callback=report)
        users = model.recalculate_user(np.arange(table.n_users), items)
    return FactorTables(
        user_vectors=torch.from_numpy(users),
        item_vectors=torch.from_numpy(np.asarray(model.item_factors)),
        item_biases=torch.zeros(table.n_items),
        offset=0.0,
        feedback=ImplicitFeedback(confidence=config.confidence, regularisation=config.regularisation),
    )


def interactions(table: RatingTable) -> sparse.csr_array:
    """Who has which items: float32 [n_users, n_items], 1 for each rating whatever its value."""
    ones = np.ones(len(table), dtype=np.float32)
    pairs = (table.users.numpy(), table.items.numpy())
    matrix = sparse.csr_array((ones, pairs), shape=(table.n_users, table.n_items))
    matrix.data[:] = 1.0  # a pair given twice is one interaction
    return matrix


def draw_seed(generator: torch.Generator) -> int:
    """A seed for a library with a random generator of its own, from ``generator``."""
    return int(torch.randint(2**31 - 1, (1,), generator=generator))
