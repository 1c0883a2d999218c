"""Principal directions of a sparse matrix."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from diffcdr.arrays import Float64Array

POWER_ITERATIONS = 3
"""Power iterations of the randomised singular value decomposition."""


def principal_directions(rows: sparse.csr_array, *, dim: int, seed: int) -> Float64Array:
    """The leading right singular vectors of ``rows`` [n, m], as columns: [m, d].

    d is ``dim``, or fewer where the matrix has fewer; at least 1. Randomised (Halko, Martinsson and Tropp, 2011).
    """
    from sklearn.utils.extmath import randomized_svd  # noqa: PLC0415 - takes a second to load; most commands do without

    n_rows, n_columns = rows.shape
    rank = max(1, min(dim, n_rows - 1, n_columns - 1))
    # The library knows no sparse arrays.
    _, _, directions = randomized_svd(sparse.csr_matrix(rows), rank, n_iter=POWER_ITERATIONS, random_state=seed)
    return np.asarray(directions, dtype=np.float64).T
