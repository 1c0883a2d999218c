"""Lists that repeat themselves less: maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998) over the best.

Of the ``POOL_FACTOR`` k best items of a user, one after the other is taken whose

    (1 - diversity) relevance(j)  -  diversity max_{i taken} cos(v_i, v_j)

is largest, the better item of equals. The relevance is the item's score, moved linearly so that the pool's best has 1
and its last 0; v are the vectors that items are scored with, and an item without direction (a zero vector) is like no
other. The best item always comes first. ``diversity`` 0 is the order of the scores, 1 looks at the vectors alone.

A user's list depends on the user, ``k`` and ``diversity``, never on who else is in the batch, nor on the processor:
cosines are taken of directions in steps of 2^-26, without rounding (:mod:`diffcdr.search.exact`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffcdr.arrays import Float32Array, Float64Array, Int32Array, Int64Array
from diffcdr.search.exact import to_steps

POOL_FACTOR = 5
"""Candidates considered for each place of a list."""
Taken = Callable[[int, int], Int64Array]
WORKING_BYTES = 1 << 20
"""Memory of the pools processed at a time: about one core's L2."""


def pool_size(k: int, n_items: int) -> int:
    """How many of a user's best items are considered for a list of ``k``."""
    return max(k, min(POOL_FACTOR * k, n_items))


def diversify(
    rows: Int32Array,
    scores: Float32Array,
    vectors: Float32Array,
    *,
    k: int,
    diversity: float | Float64Array,
    taken: Taken | None = None,
) -> tuple[Int32Array, Float32Array]:
    """Choose ``k`` of each user's pool.

    Args:
        rows: int32 [B, P], the pool: item rows, best first, -1 after the last.
        scores: float32 [B, P] of the same, falling, -inf after the last.
        vectors: float32 [n, dim], of all items.
        k: at most P.
        diversity: 0 to 1, one for all or [B].
        taken: called with (user, place in the pool) when an item is taken; the places that then may not be taken.

    Returns:
        (item rows int32 [B, k], scores float32 [B, k]) in the order they were chosen; -1 and -inf after the last.
    """
    users, pool = rows.shape
    weights = np.broadcast_to(np.asarray(diversity, dtype=np.float64), users)
    places = np.empty((users, k), dtype=np.int64)
    step = max(1, WORKING_BYTES // (8 * pool * vectors.shape[1]))
    for start in range(0, users, step):
        part = slice(start, start + step)
        relevance = _relevance(rows[part], scores[part])
        places[part] = _choose(
            relevance, _directions(rows[part], vectors), k=k, diversity=weights[part], taken=_after(taken, start)
        )
    left = places >= 0
    chosen = np.where(left, np.take_along_axis(rows, places, axis=1), -1)
    return chosen.astype(np.int32), np.where(left, np.take_along_axis(scores, places, axis=1), -np.inf)


def _after(taken: Taken | None, start: int) -> Taken | None:
    """``taken`` for users that are counted from ``start``."""
    return None if taken is None else lambda user, place: taken(start + user, place)


def _relevance(rows: Int32Array, scores: Float32Array) -> Float64Array:
    """Scores on a scale from 1 to 0 over each pool, float64 [B, P]; -inf where there is no item."""
    there = rows >= 0
    values = np.where(there, scores, 0.0).astype(np.float64)
    last = np.maximum(np.count_nonzero(there, axis=1) - 1, 0)
    lowest = np.take_along_axis(values, last[:, None], axis=1)
    span = values[:, :1] - lowest
    # No span where all scores are equal: then all are as good as the last.
    return np.where(there, (values - lowest) / np.where(span > 0.0, span, 1.0), -np.inf)


def _directions(rows: Int32Array, vectors: Float32Array) -> Float64Array:
    """Unit vectors of each pool's items, float64 [B, P, dim]; zeros for an item without direction, and for none.

    In steps that make the products of any two exact.
    """
    taken = vectors[np.maximum(rows, 0)].astype(np.float64)
    norms = np.sqrt(np.einsum("bpd,bpd->bp", taken, taken))[:, :, None]
    there = (norms > 0.0) & (rows >= 0)[:, :, None]
    unit = np.where(there, taken / np.where(there, norms, 1.0), 0.0)
    return to_steps(unit)


def _choose(
    relevance: Float64Array, directions: Float64Array, *, k: int, diversity: Float64Array, taken: Taken | None
) -> Int64Array:
    """Places in the pool, int64 [B, k], in the order in which they are chosen; -1 after the last item."""
    users = np.arange(len(relevance))
    there = np.isfinite(relevance)
    gain = np.where(there, (1.0 - diversity)[:, None] * np.where(there, relevance, 0.0), -np.inf)
    closest = np.full(relevance.shape, -np.inf, dtype=np.float32)
    chosen, picked = np.empty((len(relevance), k), dtype=np.int64), np.zeros(len(relevance), dtype=np.int64)
    # The pool is in order of the scores: its first is the best, and comes first.
    for place in range(k):
        if place:
            picked = np.argmax(gain - diversity[:, None] * closest, axis=1)
        chosen[:, place] = np.where(np.isfinite(gain[users, picked]), picked, -1)
        gain[users, picked] = -np.inf
        for user in users.tolist() if taken is not None else ():
            if taken is not None and chosen[user, place] >= 0:
                gain[user, taken(user, int(picked[user]))] = -np.inf
        alike = np.matmul(directions, directions[users, picked][:, :, None])[:, :, 0].astype(np.float32)
        np.maximum(closest, alike, out=closest)
    return chosen
