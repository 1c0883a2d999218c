"""The compiled loops of :mod:`diffcdr.search.compiled`. Only what numba compiles stands here, and how."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar, cast

import numba
import numpy as np

from diffcdr.arrays import Float32Array, Float64Array, Int64Array

Chords = tuple[Int64Array, Float64Array, Float64Array]
"""As :meth:`ItemLayout.chords` gives them."""
Masks = tuple[Int64Array, Int64Array, Int64Array]
"""Starts [U + 1], rising places that must not be, and how far each user's are used up [U]."""
Found = tuple[Int64Array, Float32Array, Int64Array]
"""Candidates of each user: places (at the end rows) and scores [U, C], of which ``counts[u]``; -1 if too many."""
Kernel = TypeVar("Kernel", bound=Callable[..., object])

TILE_ITEMS = 512
LOWEST = -(2.0**126)
"""That of :mod:`diffcdr.search.candidates`; here, as what is compiled is kept until this very file changes."""
LANES = 4
"""Dimensions that one pass over a tile takes in."""
BLOCK = 64
"""Scores that are compared with a bound at a time."""


def _compiled(*, fused: bool) -> Callable[[Kernel], Kernel]:
    """A decorator: compile at the first call, and keep the result beside the code or in the user's cache if writable.

    ``fused``: products and sums may be one operation. Infinities stay what they are: they mark what does not count.
    """

    def decorate(function: Kernel) -> Kernel:
        compile_it = numba.njit(
            nogil=True, error_model="numpy", fastmath={"contract", "nnan", "nsz"} if fused else False
        )
        dispatcher = compile_it(function)
        with suppress(RuntimeError):  # nowhere to write
            dispatcher.enable_caching()
        return cast(Kernel, dispatcher)

    return decorate


@_compiled(fused=True)
def still_active(
    active: Int64Array,
    tile: int,
    reach: tuple[Float64Array, Float64Array],
    chords: Chords,
    slack: Float64Array,
    heaps: Float32Array,
    found: Found,
) -> Int64Array:
    """Those of ``active``, moved to its front, for whom an item of ``tile`` or after it can reach their bound."""
    of_radii, tail_norm = reach
    left, share, beyond = chords
    kept = 0
    for user in active:
        low, high = of_radii[left[user], tile], of_radii[left[user] + 1, tile]
        reachable = (1.0 - share[user]) * low + share[user] * high + beyond[user] * tail_norm[tile]
        if found[2][user] >= 0 and reachable >= heaps[user, 0] - slack[user]:
            active[kept] = user
            kept += 1
    return active[:kept]


@_compiled(fused=True)
def _multiply(columns: Float32Array, one: Float32Array, other: Float32Array, scores: Float32Array) -> None:
    """Scores [2, TILE_ITEMS] of a tile's items, ``columns`` [width, TILE_ITEMS], for two user vectors [width]."""
    p, q = scores[0], scores[1]
    for d in range(0, len(columns), LANES):
        a0, a1, a2, a3 = one[d], one[d + 1], one[d + 2], one[d + 3]
        b0, b1, b2, b3 = other[d], other[d + 1], other[d + 2], other[d + 3]
        c0, c1, c2, c3 = columns[d], columns[d + 1], columns[d + 2], columns[d + 3]
        if d == 0:
            for j in range(TILE_ITEMS):
                p[j] = c3[j] * a3 + (c2[j] * a2 + (c1[j] * a1 + c0[j] * a0))
                q[j] = c3[j] * b3 + (c2[j] * b2 + (c1[j] * b1 + c0[j] * b0))
        else:
            for j in range(TILE_ITEMS):
                p[j] = c3[j] * a3 + (c2[j] * a2 + (c1[j] * a1 + (c0[j] * a0 + p[j])))
                q[j] = c3[j] * b3 + (c2[j] * b2 + (c1[j] * b1 + (c0[j] * b0 + q[j])))


@_compiled(fused=True)
def _replace_smallest(heap: Float32Array, value: np.float32) -> None:
    """Put ``value`` in the place of the smallest of ``heap``, which stands first."""
    hole, child = 0, 1
    while child < len(heap):
        if child + 1 < len(heap) and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[hole] = heap[child]
        hole, child = child, 2 * child + 1
    heap[hole] = value


@_compiled(fused=True)
def _thin(bound: np.float32, places: Int64Array, values: Float32Array, count: int) -> int:
    """Keep, of the first ``count``, what is at ``bound`` or above; how many that are."""
    kept = 0
    for entry in range(count):
        if values[entry] >= bound:
            places[kept], values[kept] = places[entry], values[entry]
            kept += 1
    return kept


@_compiled(fused=True)
def _collect(
    scores: Float32Array,
    start: int,
    slack: float,
    heap: Float32Array,
    places: Int64Array,
    values: Float32Array,
    count: int,
) -> int:
    """Append what passes of ``scores``, of items from place ``start`` on; how many there are then, -1 if too many."""
    bound = np.float32(max(heap[0] - slack, LOWEST))
    for block in range(0, TILE_ITEMS, BLOCK):
        passing = 0
        for j in range(block, block + BLOCK):
            passing += scores[j] >= bound
        if not passing:
            continue
        for j in range(block, block + BLOCK):
            if scores[j] < bound:
                continue
            if count == len(places):
                count = _thin(bound, places, values, count)
                if count == len(places):
                    return -1
            places[count], values[count] = start + j, scores[j]
            count += 1
            if scores[j] > heap[0]:
                _replace_smallest(heap, scores[j])
                bound = np.float32(max(heap[0] - slack, LOWEST))
    return count


@_compiled(fused=True)
def sift(
    scores: Float32Array,
    active: Int64Array,
    tile: int,
    slack: Float64Array,
    masks: Masks,
    heaps: Float32Array,
    found: Found,
) -> None:
    """Strike masked items out of the ``scores`` [A, TILE_ITEMS] of the ``active`` [A] users, and collect the rest."""
    starts, barred, next_barred = masks
    places, values, counts = found
    start = tile * TILE_ITEMS
    for row in range(len(active)):
        user = active[row]
        entry = next_barred[user]
        while entry < starts[user + 1] and barred[entry] < start + TILE_ITEMS:
            scores[row, barred[entry] - start] = -np.inf
            entry += 1
        next_barred[user] = entry
        counts[user] = _collect(scores[row], start, slack[user], heaps[user], places[user], values[user], counts[user])


@_compiled(fused=True)
def scan_narrow(
    columns: Float32Array,
    users: Float32Array,
    reach: tuple[Float64Array, Float64Array],
    chords: Chords,
    slack: Float64Array,
    masks: Masks,
    heaps: Float32Array,
    found: Found,
) -> None:
    """Fill ``found`` with what passes the bounds.

    ``columns`` [tiles, width, TILE_ITEMS] and ``users`` [U, width]: vectors, with the bias and 1, and zeros. ``reach``
    of the layout. ``slack`` [U]: three margins. ``heaps`` [U, k]: -inf throughout.
    """
    active = np.arange(len(users))
    scores = np.empty((2, TILE_ITEMS), dtype=np.float32)
    for tile in range(len(columns)):
        active = still_active(active, tile, reach, chords, slack, heaps, found)
        for first in range(0, len(active), 2):
            pair = active[first : first + 2]
            _multiply(columns[tile], users[pair[0]], users[pair[-1]], scores)
            sift(scores, pair, tile, slack, masks, heaps, found)


@_compiled(fused=True)
def finish(slack: Float64Array, heaps: Float32Array, found: Found) -> int:
    """Leave what is at the last bounds or above; the largest count."""
    places, values, counts = found
    largest = 0
    for user in range(len(counts)):
        if counts[user] > 0:
            bound = np.float32(max(heaps[user, 0] - slack[user], LOWEST))
            counts[user] = _thin(bound, places[user], values[user], counts[user])
            largest = max(largest, counts[user])
    return largest


@_compiled(fused=False)
def score_exactly(
    row_of: Int64Array,
    vectors: Float32Array,
    biases: Float32Array,
    offset: float,
    users: Float32Array,
    found: Found,
    width: int,
) -> None:
    """Turn places into rows and approximate scores into exact ones, in place; -inf from a user's count to ``width``."""
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
            rows[user, entry], scores[user, entry] = row, np.float32(total + biases[row] + offset)


@_compiled(fused=False)
def score_candidates(
    vectors: Float32Array,
    biases: Float32Array,
    offset: float,
    users: Float32Array,
    rows: Int64Array,
    scores: Float32Array,
) -> None:
    """Exact ``scores`` [U, C] of item ``rows`` [U, C] for ``users`` [U, dim]; -inf where a row is negative."""
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
