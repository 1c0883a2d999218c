"""The compiled loops of :mod:`diffcdr.search.compiled.scan`. Contains only code that numba compiles."""

from __future__ import annotations

import numpy as np

from diffcdr.arrays import Float32Array, Float64Array, Int64Array
from diffcdr.search.compiled.kernel_types import Added, Best, Bounds, Found, Masks, compiled

TILE_ITEMS = 512
LOWEST = -(2.0**126)
"""Same as in :mod:`diffcdr.search.candidates`; repeated here since compiled code is cached until this file changes."""
LANES = 4
"""Dimensions processed in one pass over a tile."""
BLOCK = 64
"""Scores compared with a bound at a time."""
ADDED_TILES, ADDED_USERS = 16, 8
"""Tiles whose sparse sums are computed at a time (64 KiB of float64), and users whose rows of S then stay in cache."""


@compiled(fused=True)
def _reachable(user: int, tile: int, bounds: Bounds) -> float:
    """Upper bound on the dense part of any item in ``tile`` or after it for ``user``."""
    of_radii, tail_norm = bounds[0]
    left, share, beyond = bounds[1]
    low, high = of_radii[left[user], tile], of_radii[left[user] + 1, tile]
    return float((1.0 - share[user]) * low + share[user] * high + beyond[user] * tail_norm[tile])


@compiled(fused=True)
def still_active(active: Int64Array, tile: int, bounds: Bounds, heaps: Float32Array, found: Found) -> Int64Array:
    """The users of ``active``, moved to its front, whose bound an item in ``tile`` or after it can reach."""
    kept = 0
    for user in active:
        if found[2][user] >= 0 and _reachable(user, tile, bounds) >= heaps[user, 0] - bounds[2][user]:
            active[kept] = user
            kept += 1
    return active[:kept]


@compiled(fused=True)
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


@compiled(fused=True)
def _replace_smallest(heap: Float32Array, value: np.float32) -> None:
    """Replace the smallest value of ``heap``, its first, by ``value``."""
    hole, child = 0, 1
    while child < len(heap):
        if child + 1 < len(heap) and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[hole] = heap[child]
        hole, child = child, 2 * child + 1
    heap[hole] = value


@compiled(fused=True)
def _thin(bound: np.float32, places: Int64Array, values: Float32Array, sums: Float64Array | None, count: int) -> int:
    """Keep those of the first ``count`` candidates that reach ``bound``; returns their number."""
    kept = 0
    for entry in range(count):
        if values[entry] >= bound:
            places[kept], values[kept] = places[entry], values[entry]
            if sums is not None:
                sums[kept] = sums[entry]
            kept += 1
    return kept


@compiled(fused=True)
def _collect(
    scores: Float32Array,
    start: int,
    slack: float,
    heap: Float32Array,
    places: Int64Array,
    values: Float32Array,
    count: int,
    added: tuple[Float64Array, Float64Array] | None,
) -> int:
    """Append the ``scores`` that pass, of items from place ``start`` on; the new count, -1 if too many.

    ``added``: the sparse part of each score [TILE_ITEMS], and the array for those of the candidates.
    """
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
                count = _thin(bound, places, values, None if added is None else added[1], count)
                if count == len(places):
                    return -1
            places[count], values[count] = start + j, scores[j]
            if added is not None:
                added[1][count] = added[0][j]
            count += 1
            if scores[j] > heap[0]:
                _replace_smallest(heap, scores[j])
                bound = np.float32(max(heap[0] - slack, LOWEST))
    return count


@compiled(fused=True)
def _strike(scores: Float32Array, user: int, start: int, masks: Masks) -> None:
    """Set the ``scores`` [TILE_ITEMS] of masked items to -inf; ``start``: place of the first item."""
    starts, barred, next_barred = masks
    entry = next_barred[user]
    while entry < starts[user + 1] and barred[entry] < start + TILE_ITEMS:
        if barred[entry] >= start:  # tiles may have been skipped
            scores[barred[entry] - start] = -np.inf
        entry += 1
    next_barred[user] = entry


@compiled(fused=True)
def sift(
    scores: Float32Array,
    active: Int64Array,
    tile: int,
    slack: Float64Array,
    masks: Masks,
    heaps: Float32Array,
    found: Found,
) -> None:
    """Remove masked items from the ``scores`` [A, TILE_ITEMS] of the ``active`` [A] users, and collect the rest."""
    places, values, counts = found
    start = tile * TILE_ITEMS
    for row in range(len(active)):
        user = active[row]
        _strike(scores[row], user, start, masks)
        counts[user] = _collect(
            scores[row], start, slack[user], heaps[user], places[user], values[user], counts[user], None
        )


@compiled(fused=True)
def scan_narrow(
    columns: Float32Array, users: Float32Array, bounds: Bounds, masks: Masks, heaps: Float32Array, found: Found
) -> None:
    """Fill ``found`` with the items that pass the bounds.

    ``columns`` [tiles, width, TILE_ITEMS] and ``users`` [U, width]: vectors, then the bias or 1, then zeros.
    ``heaps`` [U, k]: filled with -inf.
    """
    active = np.arange(len(users))
    scores = np.empty((2, TILE_ITEMS), dtype=np.float32)
    for tile in range(len(columns)):
        active = still_active(active, tile, bounds, heaps, found)
        for first in range(0, len(active), 2):
            pair = active[first : first + 2]
            _multiply(columns[tile], users[pair[0]], users[pair[-1]], scores)
            sift(scores, pair, tile, bounds[2], masks, heaps, found)


@compiled(fused=True)
def _multiply_one(columns: Float32Array, one: Float32Array, scores: Float32Array) -> None:
    """Like :func:`_multiply`, for one user: scores [TILE_ITEMS]."""
    for d in range(0, len(columns), LANES):
        a0, a1, a2, a3 = one[d], one[d + 1], one[d + 2], one[d + 3]
        c0, c1, c2, c3 = columns[d], columns[d + 1], columns[d + 2], columns[d + 3]
        if d == 0:
            for j in range(TILE_ITEMS):
                scores[j] = c3[j] * a3 + (c2[j] * a2 + (c1[j] * a1 + c0[j] * a0))
        else:
            for j in range(TILE_ITEMS):
                scores[j] = c3[j] * a3 + (c2[j] * a2 + (c1[j] * a1 + (c0[j] * a0 + scores[j])))


@compiled(fused=False)
def _gather(user: int, start: int, added: Added, extra: Float64Array) -> None:
    """Set ``extra`` to the sparse sums of the items from place ``start`` on, each by ascending source item.

    The places of a row ascend, so each of its entries is read once as the blocks advance.
    """
    (starts, weights, following, ends), (places, values) = added
    stop = start + len(extra)
    extra[:] = 0.0
    for own in range(starts[user], starts[user + 1]):
        entry, end, weight = following[own], ends[own], np.float64(weights[own])
        while entry < end and places[entry, 0] < stop:
            # Unsigned, so no check for negative indices is compiled.
            extra[np.uint64(places[entry, 0] - start)] += weight * np.float64(values[entry, 1])
            entry += 1
        following[own] = entry


@compiled(fused=True)
def _lifts(part: Float64Array, least: float) -> bool:
    """Whether any of ``part`` reaches ``least``; counting is several times faster than a maximum."""
    passing = 0
    for j in range(TILE_ITEMS):
        passing += part[j] >= least
    return passing > 0


@compiled(fused=True)
def _passes(products: Float32Array, part: Float64Array, bound: np.float32) -> bool:
    """Whether any of ``products`` plus ``part`` reaches ``bound``."""
    passing = 0
    for j in range(TILE_ITEMS):
        passing += products[j] + np.float32(part[j]) >= bound
    return passing > 0


@compiled(fused=True)
def scan_added(
    tiles: tuple[int, int],
    columns: Float32Array,
    users: Float32Array,
    products: tuple[Float32Array, Int64Array],
    bounds: Bounds,
    masks: Masks,
    best: Best,
    added: Added,
) -> None:
    """Like :func:`scan_narrow`, with a sparse part, for ``tiles`` (first, end).

    A tile is skipped if no sparse sum lifts its reach to the user's bound. ``products``: those of the tiles with some
    users [T, A, TILE_ITEMS], and the row of each user in them [U]; for -1 they are computed here.
    """
    heaps, (places, values, counts), sums = best
    slack = bounds[2]
    extra = np.empty(ADDED_TILES * TILE_ITEMS, dtype=np.float64)
    scores = np.empty(TILE_ITEMS, dtype=np.float32)
    for group in range(0, len(users), ADDED_USERS):
        for block in range(tiles[0], tiles[1], ADDED_TILES):
            for user in range(group, min(group + ADDED_USERS, len(users))):
                if counts[user] < 0:
                    continue
                _gather(user, block * TILE_ITEMS, added, extra)
                for tile in range(block, min(block + ADDED_TILES, tiles[1])):
                    part = extra[(tile - block) * TILE_ITEMS : (tile - block + 1) * TILE_ITEMS]
                    least = heaps[user, 0] - slack[user] - _reachable(user, tile, bounds)
                    if least > 0.0 and not _lifts(part, least):
                        continue
                    row = products[1][user]
                    if row < 0:
                        _multiply_one(columns[tile], users[user], scores)
                    made = scores if row < 0 else products[0][tile - tiles[0], row]
                    if not _passes(made, part, np.float32(max(heaps[user, 0] - slack[user], LOWEST))):
                        continue
                    for j in range(TILE_ITEMS):
                        scores[j] = made[j] + np.float32(part[j])
                    start = tile * TILE_ITEMS
                    _strike(scores, user, start, masks)
                    count, mine = counts[user], (part, sums[user])
                    count = _collect(scores, start, slack[user], heaps[user], places[user], values[user], count, mine)
                    counts[user] = count
                    if count < 0:
                        break


@compiled(fused=True)
def finish(slack: Float64Array, heaps: Float32Array, found: Found, sums: Float64Array | None) -> int:
    """Keep the candidates that reach the final bounds; returns the largest count. ``sums`` [U, C] go with them."""
    places, values, counts = found
    largest = 0
    for user in range(len(counts)):
        if counts[user] > 0:
            bound = np.float32(max(heaps[user, 0] - slack[user], LOWEST))
            mine = None if sums is None else sums[user]
            counts[user] = _thin(bound, places[user], values[user], mine, counts[user])
            largest = max(largest, counts[user])
    return largest
