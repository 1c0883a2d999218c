"""Compiled loops that compute exact scores, literally by the definition in :mod:`diffcdr.search.topk`."""

from __future__ import annotations

import numpy as np

from diffcdr.arrays import Float32Array, Float64Array, Int64Array
from diffcdr.search.compiled.kernel_types import Found, compiled


@compiled(fused=False)
def score_exactly(
    row_of: Int64Array,
    vectors: Float32Array,
    biases: Float32Array,
    offset: float,
    users: Float32Array,
    found: Found,
    width: int,
    sums: Float64Array | None,
) -> None:
    """Turn places into rows and approximate scores into exact ones, in place; -inf from a user's count to ``width``.

    ``sums`` [U, C]: the sparse part of each score.
    """
    rows, scores, counts = found
    for user in range(len(users)):
        for entry in range(width):
            if entry >= counts[user]:
                rows[user, entry], scores[user, entry] = 0, -np.inf
                continue
            row = row_of[rows[user, entry]]
            total = 0.0
            for d in range(users.shape[1]):
                total += np.float64(vectors[row, d]) * np.float64(users[user, d])
            total = total + biases[row] + offset
            if sums is not None:
                total += sums[user, entry]
            rows[user, entry], scores[user, entry] = row, np.float32(total)


@compiled(fused=False)
def score_candidates(
    vectors: Float32Array,
    biases: Float32Array,
    offset: float,
    users: Float32Array,
    rows: Int64Array,
    scores: Float32Array,
) -> None:
    """Exact ``scores`` [U, C] of item ``rows`` [U, C] for ``users`` [U, dim]; -inf if a row is negative."""
    for user in range(rows.shape[0]):
        for entry in range(rows.shape[1]):
            row = rows[user, entry]
            if row < 0:
                scores[user, entry] = -np.inf
                continue
            total = 0.0
            for d in range(users.shape[1]):
                total += np.float64(vectors[row, d]) * np.float64(users[user, d])
            scores[user, entry] = np.float32(total + biases[row] + offset)
