"""The order in which a top-k search visits items, and an upper bound on the scores of those not yet visited."""

from __future__ import annotations

import numpy as np

from diffcdr.arrays import Float32Array, Float64Array, Int64Array
from diffcdr.search.candidates import PADDING

Pairs = tuple[Int64Array, Int64Array]
"""Masked (user, item place) pairs, in any number and order."""


class ItemLayout:
    """Items with the most promising first (long vector, large bias), in tiles of ``tile_items``.

    An item's *place* is its position in that order; its *row* is that of the caller.
    """

    rows: Int64Array
    """The caller's row of the item at each place, [n]."""
    places: Int64Array
    """The place of each of the caller's rows, [n]; the inverse of ``rows``."""
    tiles: int
    """Number of tiles, at least one; the last may be padded."""
    reach: Float64Array
    """Upper bound on the score of any item in a tile or after it, by length of the user vector, [lengths, tiles]."""
    tail_norm: Float64Array
    """The longest item vector of a tile or after it, [tiles]."""

    def __init__(self, vectors: Float32Array, biases: Float32Array, *, typical_norm: float, tile_items: int) -> None:
        """Order ``vectors`` [n, dim] with ``biases`` [n]; ``typical_norm`` as in :class:`diffcdr.search.topk.TopK`."""
        n_items = len(vectors)
        self.tiles = max(1, -(-n_items // tile_items))
        self.tile_items = tile_items
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
        self.rows = np.argsort(-(typical_norm * norms + biases), kind="stable")
        self.places = np.empty(n_items, dtype=np.int64)
        self.places[self.rows] = np.arange(n_items)
        self._radii = np.append(0.0, typical_norm * 2.0 ** np.arange(-4, 5))
        self.reach = np.stack([self._largest_from_here(radius * norms + biases) for radius in self._radii])
        self.tail_norm = self._largest_from_here(norms)

    def padded(self, vectors: Float32Array, biases: Float32Array, *, width: int) -> Float32Array:
        """``vectors`` [n, dim] by place, with the bias as one more dimension: float32 [tiles * tile_items, width].

        The remaining columns are zero. Rows that only fill the last tile score exactly ``PADDING`` for everyone.
        """
        n_items, dim = vectors.shape
        padded = np.zeros((self.tiles * self.tile_items, width), dtype=np.float32)
        padded[:n_items, :dim] = vectors[self.rows]
        padded[:n_items, dim] = biases[self.rows]
        padded[n_items:, dim] = PADDING
        return padded

    def chords(self, norms: Float64Array) -> tuple[Int64Array, Float64Array, Float64Array]:
        """How to compute the largest scores of users of lengths ``norms`` [U] from ``reach`` and ``tail_norm``.

        v . u + b <= |v| |u| + b (Cauchy and Schwarz). The largest of these over items is convex in |u|, so between two
        lengths it lies below the chord; beyond the last it grows by at most the longest vector. Returns, [U] each,
        left, share and beyond: ``(1 - share) reach[left] + share reach[left + 1] + beyond tail_norm``.
        """
        left = np.clip(np.searchsorted(self._radii, norms, side="right") - 1, 0, len(self._radii) - 2)
        low, high = self._radii[left], self._radii[left + 1]
        return left, np.minimum((norms - low) / (high - low), 1.0), np.maximum(norms - self._radii[-1], 0.0)

    def reachable(self, norms: Float64Array) -> Float64Array:
        """Upper bound on scores in a tile or after it for users of lengths ``norms``, [U, tiles]; descending."""
        left, share, beyond = self.chords(norms)
        share, beyond = share[:, None], beyond[:, None]
        reach: Float64Array = (1.0 - share) * self.reach[left] + share * self.reach[left + 1] + beyond * self.tail_norm
        return reach

    def _largest_from_here(self, values: Float64Array) -> Float64Array:
        """The largest of ``values`` [n], by row, in each tile or after it, [tiles]; -inf if there is none."""
        padded = np.full(self.tiles * self.tile_items, -np.inf)
        padded[: len(values)] = values[self.rows]
        by_tile = padded.reshape(self.tiles, self.tile_items).max(axis=1)
        return np.maximum.accumulate(by_tile[::-1])[::-1]
