"""Exact top-k over all items, in two stages, on NumPy alone.

The score of item j for user vector u is ``float32(sum_d v_jd u_d + bias_j + offset)``, accumulated in float64 in the
order d = 0, 1, … and then bias, offset; items are ordered by score, descending, then by row, ascending. That
definition knows no batch, so results agree to the last bit whatever the batch's size, company or order.

Scoring everything that way would be slow. Instead a float32 matrix product gives approximate scores, each within
``margin(u)`` of the exact one (the standard bound on a float32 dot product), and only their maxima over blocks of
``BLOCK_ITEMS`` items are kept, while the scores are still in cache. The k-th largest maximum bounds the k-th best
score from below, so whatever can be among the k best lies in the few blocks above that bound. These are scored
again, thinned by the same argument item by item, and what is left (k items and a few) gets its exact score.
Users for whom too much is left (large ties, values near the float32 range) are scored exactly throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]

BLOCK_ITEMS = 32
TILE_BLOCKS = 16
"""Blocks that interleave: block b of a tile holds its rows b, b + 16, b + 32, …, so that the maxima of a tile are
one contiguous SIMD reduction."""
TILE_ITEMS = BLOCK_ITEMS * TILE_BLOCKS
USER_CHUNK = 256
SCORES_IN_CACHE = TILE_ITEMS * USER_CHUNK
"""float32 scores computed at a time: 512 KiB, about one core's L2."""
EXHAUSTIVE_ITEMS = 65_536
LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True, slots=True)
class MaskedRows:
    """Item rows that user i of a batch must not get: ``rows[indptr[i]:indptr[i + 1]]``, repeats allowed."""

    indptr: Int64Array
    rows: Int32Array

    @classmethod
    def pack(cls, lists: Sequence[npt.NDArray[np.integer[Any]]]) -> Self:
        """One array of rows per user."""
        indptr = np.zeros(len(lists) + 1, dtype=np.int64)
        np.cumsum([len(rows) for rows in lists], out=indptr[1:])
        return cls(indptr, np.concatenate([np.empty(0, dtype=np.int32), *lists]).astype(np.int32))

    def part(self, start: int, stop: int) -> tuple[Int64Array, Int32Array]:
        """(user, counted from ``start``; item row) of every pair of users ``start`` to ``stop``."""
        counts = np.diff(self.indptr[start : stop + 1])
        return np.repeat(np.arange(stop - start), counts), self.rows[self.indptr[start] : self.indptr[stop]]


class TopK:
    """The k best items of many users. Nothing changes after construction: share it between threads freely."""

    def __init__(self, vectors: Float32Array, biases: Float32Array, *, offset: float = 0.0) -> None:
        """Lay out the items: ``vectors`` float32 [n, dim], ``biases`` float32 [n], all finite."""
        self.n_items, self.dim = vectors.shape
        self._offset = float(offset)
        self._vectors = vectors
        self._biases = biases
        tiles = max(1, -(-self.n_items // TILE_ITEMS))
        # The bias is one more dimension, and rows that only fill the last tile can win nothing.
        padded = np.zeros((tiles * TILE_ITEMS, self.dim + 1), dtype=np.float32)
        padded[: self.n_items, :-1] = vectors
        padded[: self.n_items, -1] = biases
        padded[self.n_items :, -1] = -np.inf
        # Dimension by dimension: the layout in which a product with one vector vectorises; a larger one packs anyway.
        self._by_dim = np.ascontiguousarray(padded.T)
        by_block = padded.reshape(tiles, BLOCK_ITEMS, TILE_BLOCKS, self.dim + 1).transpose(0, 2, 1, 3)
        blocks = by_block.reshape(tiles * TILE_BLOCKS, BLOCK_ITEMS, self.dim + 1)
        nothing = np.zeros_like(blocks[:1])
        nothing[..., -1] = -np.inf
        self._blocks = np.concatenate([blocks, nothing])
        self._largest = np.abs(vectors).max(axis=0, initial=0.0).astype(np.float64)
        self._constant = float(np.abs(biases).max(initial=0.0)) + abs(self._offset)

    def search(
        self, users: Float32Array, k: int, *, masked: MaskedRows | None = None
    ) -> tuple[Int32Array, Float32Array]:
        """The ``k`` best items of each user.

        Args:
            users: float32 [B, dim], finite.
            k: at least 1.
            masked: item rows that each user must not get.

        Returns:
            (item rows int32 [B, k], scores float32 [B, k]), best first; -1 and -inf where fewer than ``k`` are left.
        """
        rows = np.full((len(users), k), -1, dtype=np.int32)
        scores = np.full((len(users), k), -np.inf, dtype=np.float32)
        width = min(k, self.n_items)
        for start in range(0, len(users) if width else 0, USER_CHUNK):
            chunk = np.asarray(users[start : start + USER_CHUNK], dtype=np.float32)
            stop = start + len(chunk)
            pairs = masked.part(start, stop) if masked is not None and len(masked.rows) else None
            keys = self._best_keys(chunk, width, pairs)
            rows[start:stop, :width], scores[start:stop, :width] = _unpack(keys)
        return rows, scores

    def score(self, user: Float32Array, rows: npt.NDArray[np.integer[Any]]) -> Float32Array:
        """Exact scores float32 [len(rows)] of item ``rows`` for one user vector float32 [dim]."""
        return self._exact(np.asarray(user, dtype=np.float32)[None], rows)

    def _best_keys(self, users: Float32Array, k: int, pairs: tuple[Int64Array, Int32Array] | None) -> Int64Array:
        """Packed (score, row) of the ``k`` best items, uint64 [U, k], best first; EMPTY where there are fewer."""
        extended = np.concatenate([users, np.ones((len(users), 1), dtype=np.float32)], axis=1)
        margin = self._margin(users)
        plain = np.isfinite(margin)
        extended[~plain, :-1] = 0.0
        maxima = self._block_maxima(extended, pairs)
        candidates = _above(maxima, k, margin, limit=2 * k + 16)
        plain &= candidates.counts >= 0
        approximate, items = self._approximate(extended, candidates.padded(fill=len(self._blocks) - 1), pairs)
        finalists = _above(approximate, k, margin, limit=4 * k + 64)
        plain &= finalists.counts >= 0
        keys = self._exact_keys(users, finalists, items)
        best = np.full((len(users), k), EMPTY)
        width = min(k, keys.shape[1])
        best[:, :width] = np.sort(keys, axis=1)[:, ::-1][:, :width]
        for user in np.flatnonzero(~plain).tolist():
            forbidden = pairs[1][pairs[0] == user] if pairs is not None else None
            best[user] = self._exhaustive_keys(users[user], k, forbidden)
        return best

    def _margin(self, users: Float32Array) -> Float64Array:
        """Largest error of an approximate score of each user, float64 [U]; inf where float32 may overflow.

        A dot product of n float32 terms, in any order, fused or not, errs by at most about n 2^-24 times the sum of
        the terms' sizes (Higham, Accuracy and Stability, sec. 3.1); three more roundings cover the rest.
        """
        size = np.abs(users.astype(np.float64)) @ self._largest + self._constant
        margin = (self.dim + 4) * 2.0**-24 * 1.01 * size + 1e-30
        return np.where(size < 1e37, margin, np.inf)

    def _block_maxima(self, extended: Float32Array, pairs: tuple[Int64Array, Int32Array] | None) -> Float32Array:
        """Largest approximate score in each block, float32 [U, blocks]; masked items count as -inf."""
        users = len(extended)
        columns = np.ascontiguousarray(extended.T)
        tiles = self._by_dim.shape[1] // TILE_ITEMS
        step = max(1, SCORES_IN_CACHE // (TILE_ITEMS * users))
        maxima = np.empty((tiles, TILE_BLOCKS * users), dtype=np.float32)
        scores = np.empty((min(step, tiles) * TILE_ITEMS, users), dtype=np.float32)
        if pairs is not None:
            order = np.argsort(pairs[1], kind="stable")
            masked_users, masked_rows = pairs[0][order], pairs[1][order]
        for tile in range(0, tiles, step):
            part = self._by_dim[:, tile * TILE_ITEMS : (tile + step) * TILE_ITEMS].T
            out = scores[: len(part)]
            np.matmul(part, columns, out=out)
            if pairs is not None:
                first = tile * TILE_ITEMS
                low, high = np.searchsorted(masked_rows, [first, first + len(part)])
                out[masked_rows[low:high] - first, masked_users[low:high]] = -np.inf
            _maximum(out.reshape(-1, BLOCK_ITEMS, TILE_BLOCKS * users), out=maxima[tile : tile + step])
        return np.ascontiguousarray(maxima.reshape(-1, users).T)

    def _approximate(
        self, extended: Float32Array, blocks: Int64Array, pairs: tuple[Int64Array, Int32Array] | None
    ) -> tuple[Float32Array, Int64Array]:
        """Approximate scores of all items of ``blocks`` [U, C], and their rows: float32 and int64 [U, C * BLOCK_ITEMS].

        Masked items have -inf; so do the rows of the empty block that pads the list.
        """
        users, width = blocks.shape
        gathered = self._blocks[blocks].reshape(users, width * BLOCK_ITEMS, self.dim + 1)
        scores = np.matmul(gathered, extended[:, :, None])[:, :, 0]
        tile, place = np.divmod(blocks, TILE_BLOCKS)
        first = tile * TILE_ITEMS + place
        items = (first[:, :, None] + TILE_BLOCKS * np.arange(BLOCK_ITEMS)).reshape(users, -1)
        if pairs is not None:
            slots = np.full((users, len(self._blocks)), -1, dtype=np.int32)
            slots[np.arange(users)[:, None], blocks] = np.arange(width, dtype=np.int32)
            owner, rows = pairs
            slot = slots[owner, rows // TILE_ITEMS * TILE_BLOCKS + rows % TILE_BLOCKS]
            chosen = slot >= 0
            within = rows[chosen] % TILE_ITEMS // TILE_BLOCKS
            scores[owner[chosen], slot[chosen] * BLOCK_ITEMS + within] = -np.inf
        return scores, items

    def _exact_keys(self, users: Float32Array, finalists: _Ragged, items: Int64Array) -> Int64Array:
        """Packed exact scores of the finalists (columns of ``items``), int64 [U, W], padded with EMPTY."""
        rows = items[finalists.users, finalists.columns]
        keys = np.full((len(users), max(1, int(finalists.counts.max(initial=0)))), EMPTY)
        keys[finalists.users, finalists.places] = _pack(self._exact(users[finalists.users], rows), rows)
        return keys

    def _exhaustive_keys(self, user: Float32Array, k: int, forbidden: Int32Array | None) -> Int64Array:
        keys = np.empty(self.n_items, dtype=np.int64)
        for start in range(0, self.n_items, EXHAUSTIVE_ITEMS):
            rows = np.arange(start, min(start + EXHAUSTIVE_ITEMS, self.n_items))
            keys[rows] = _pack(self.score(user, rows), rows)
        if forbidden is not None:
            keys[forbidden] = EMPTY
        return np.sort(np.partition(keys, len(keys) - k)[len(keys) - k :])[::-1]

    def _exact(self, users: Float32Array, rows: npt.NDArray[np.integer[Any]]) -> Float32Array:
        """Scores [R] of item ``rows`` [R] for ``users`` [R, dim] (or [1, dim]): the definition, literally."""
        # float32 products are exact in float64, and accumulate, unlike sum, adds strictly in order.
        products = self._vectors[rows].astype(np.float64) * users
        total = np.add.accumulate(products, axis=1)[:, -1] if self.dim else np.zeros(len(rows))
        total = total + self._biases[rows] + self._offset
        scores: Float32Array = np.empty(len(rows), dtype=np.float32)
        with np.errstate(over="ignore"):
            scores[:] = total
        return scores


@dataclass(frozen=True, slots=True)
class _Ragged:
    """Chosen columns of each user, flat: entry e is column ``columns[e]`` of user ``users[e]``, its ``places[e]``-th.

    ``counts`` [U]: entries per user, -1 for a user left out because they had too many.
    """

    users: Int64Array
    columns: Int64Array
    places: Int64Array
    counts: Int64Array

    def padded(self, *, fill: int) -> Int64Array:
        """int64 [U, largest count], ``fill`` where a user has fewer."""
        out = np.full((len(self.counts), max(1, int(self.counts.max(initial=0)))), fill, dtype=np.int64)
        out[self.users, self.places] = self.columns
        return out


def _maximum(values: Float32Array, *, out: Float32Array) -> None:
    """Maximum of ``values`` [T, BLOCK_ITEMS, N] over the middle axis into ``out`` [T, N]."""
    if values.shape[2] >= 8 * TILE_BLOCKS:
        np.maximum.reduce(values, axis=1, out=out)
        return
    # Few users make N short, and a reduction pays its start once per N values; halves are long runs.
    while values.shape[1] > 1:
        half = values.shape[1] // 2
        values = np.maximum(values[:, :half], values[:, half:])
    out[:] = values[:, 0]


def _above(values: Float32Array, k: int, margin: Float64Array, *, limit: int) -> _Ragged:
    """Columns of ``values`` [U, N] that can hold one of the k best, given that each value errs by up to ``margin``.

    The k-th largest value errs by one margin, the candidate by another; the third covers rounding the bound itself.
    """
    width = values.shape[1]
    kth = np.partition(values, width - k, axis=1)[:, width - k] if k < width else np.full(len(values), -np.inf)
    # Never as low as -inf, the mark of masked items and padding.
    bound = np.maximum(kth - 3 * margin, LOWEST).astype(np.float32)
    # Several times faster than a two-dimensional nonzero.
    users, columns = np.divmod(np.flatnonzero(values >= bound[:, None]), width)
    counts = np.bincount(users, minlength=len(values))
    if (counts > limit).any():
        kept = counts[users] <= limit
        users, columns = users[kept], columns[kept]
        counts[counts > limit] = -1
    starts = np.cumsum(np.maximum(counts, 0)) - np.maximum(counts, 0)
    return _Ragged(users, columns, np.arange(len(users)) - starts[users], counts)


def _pack(scores: Float32Array, rows: npt.NDArray[np.integer[Any]]) -> Int64Array:
    """One integer per (score, row) that orders by score, then by falling row: descending is best first.

    The upper half is the float's bits, turned so that they order as integers do; -0.0 counts as 0.0.
    """
    return (_turn((scores + np.float32(0.0)).view(np.int32)).astype(np.int64) << 32) | (0xFFFFFFFF - rows)


def _unpack(keys: Int64Array) -> tuple[Int32Array, Float32Array]:
    """Item rows and scores of ``keys``; -1 and -inf of EMPTY."""
    rows = (0xFFFFFFFF - (keys & 0xFFFFFFFF)).astype(np.uint32).view(np.int32)
    return rows, _turn((keys >> 32).astype(np.int32)).view(np.float32)


def _turn(bits: Int32Array) -> Int32Array:
    """Swap the order of negative floats' bits; its own inverse."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


EMPTY = int(_pack(np.array([-np.inf], dtype=np.float32), np.array([0xFFFFFFFF]))[0])
"""The key of no item: below that of any item."""
