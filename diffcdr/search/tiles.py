"""The items of a top-k search, laid out so that float32 scores are cheap and few of them are needed.

Items are in the order of :mod:`diffcdr.search.item_order`, cut into tiles. The scores here are approximate, with an
error that the caller bounds by a margin per user. No item that could be among the k best is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffcdr.arrays import Float32Array, Float64Array, Int64Array
from diffcdr.search.candidates import LOWEST, PADDING, kth_largest
from diffcdr.search.item_order import ItemLayout, Pairs
from diffcdr.search.sparse_part import SparsePart

BLOCK_ITEMS = 32
TILE_BLOCKS = 16
"""Blocks that interleave: block b of a tile holds its rows b, b + 16, b + 32, …, so that the maxima of a tile are
one contiguous SIMD reduction."""
TILE_ITEMS = BLOCK_ITEMS * TILE_BLOCKS
USER_CHUNK = 256
SCORES_IN_CACHE = TILE_ITEMS * USER_CHUNK
"""float32 scores computed at a time: 512 KiB, about one core's L2."""
VALUES_IN_CACHE = 1 << 20
"""Values of item blocks copied at a time: 4 MiB."""
FIRST_TILES = 8


@dataclass(frozen=True, slots=True)
class Added:
    """A sparse part in the order of the items, [U, places and an empty block]: exact, in float32, and its reach.

    ``reach`` [U, tiles]: the largest addend of any item in a tile or after it.
    """

    sums: Float64Array
    approximate: Float32Array
    reach: Float64Array

    @classmethod
    def of(cls, sparse: SparsePart, layout: ItemLayout) -> Added:
        """``sparse`` by place; padding gets 0."""
        places = layout.tiles * TILE_ITEMS
        sums = sparse.sums(places=layout.places, width=places + TILE_ITEMS)
        by_tile = sums[:, :places].reshape(len(sums), layout.tiles, TILE_ITEMS).max(axis=2)
        reach = np.maximum.accumulate(by_tile[:, ::-1], axis=1)[:, ::-1]
        return cls(sums, sums.astype(np.float32), reach)

    def one(self, user: int) -> Added:
        """The part of ``user``."""
        chosen = slice(user, user + 1)
        return Added(self.sums[chosen], self.approximate[chosen], self.reach[chosen])


class ItemTiles:
    """Approximate scores ``bias_j + v_j . u`` (no offset), in float32."""

    layout: ItemLayout
    empty_block: int
    """A block without items, for padding lists of blocks."""

    def __init__(self, vectors: Float32Array, biases: Float32Array, *, typical_norm: float) -> None:
        """Lay out ``vectors`` [n, dim] with ``biases`` [n]; see :class:`diffcdr.search.topk.TopK`."""
        self._dim = vectors.shape[1]
        self.layout = ItemLayout(vectors, biases, typical_norm=typical_norm, tile_items=TILE_ITEMS)
        tiles = self.layout.tiles
        padded = self.layout.padded(vectors, biases, width=self._dim + 1)
        # Dimension by dimension: the layout in which a product with one vector vectorises; a larger one packs anyway.
        self._by_dim = np.ascontiguousarray(padded.T)
        by_block = padded.reshape(tiles, BLOCK_ITEMS, TILE_BLOCKS, self._dim + 1).transpose(0, 2, 1, 3)
        blocks = by_block.reshape(tiles * TILE_BLOCKS, BLOCK_ITEMS, self._dim + 1)
        nothing = np.zeros_like(blocks[:1])
        nothing[..., -1] = PADDING
        self._blocks = np.concatenate([blocks, nothing])
        self.empty_block = len(self._blocks) - 1

    def block_maxima(
        self,
        extended: Float32Array,
        k: int,
        margin: Float64Array,
        pairs: Pairs | None,
        *,
        added: Added | None = None,
    ) -> Float32Array:
        """Largest approximate score in each block, float32 [U, blocks]; masked items count as -inf, padding as PADDING.

        Blocks in which no item can be among the k best also count as -inf: their reach is below the k-th largest
        maximum so far, which is checked after a sixteenth and a quarter of the tiles. Trailing blocks that no user
        needs are left out.
        """
        users = len(extended)
        tiles = self.layout.tiles
        maxima = np.full((users, tiles * TILE_BLOCKS), -np.inf, dtype=np.float32)
        norms = np.linalg.norm(extended[:, :-1].astype(np.float64), axis=1)
        masks = _Masks(pairs, users)
        active = np.flatnonzero(np.isfinite(margin))
        needed = np.full(len(active), tiles)
        done = 0
        enough = min(tiles, max(-(-tiles // 16), 2 * k // TILE_BLOCKS + 1))
        for goal in sorted({enough, max(enough, -(-tiles // 4)), tiles}):
            if not len(active):
                break
            stop = min(goal, int(needed[0]))
            masks.renumber(active)
            more = None if added is None else added.approximate[active]
            found = self._maxima_of_tiles(done, stop, extended[active], needed, masks, more)
            maxima[active, done * TILE_BLOCKS : stop * TILE_BLOCKS] = found.T
            done = stop
            if done == tiles:
                break
            floor = kth_largest(maxima[active, : done * TILE_BLOCKS], k) - 3 * margin[active]
            reachable = self.layout.reachable(norms[active])
            if added is not None:
                reachable = reachable + added.reach[active]
            needed = np.count_nonzero(reachable >= floor[:, None], axis=1)
            order = np.argsort(-needed, kind="stable")
            order = order[needed[order] > done]
            active, needed = active[order], needed[order]
        return maxima[:, : done * TILE_BLOCKS]

    def _maxima_of_tiles(  # noqa: PLR0913 - a tile's scores are made in one place
        self,
        first: int,
        last: int,
        extended: Float32Array,
        needed: Int64Array,
        masks: _Masks,
        more: Float32Array | None,
    ) -> Float32Array:
        """Block maxima of the tiles from ``first`` to ``last``, float32 [blocks, U].

        ``needed`` [U], falling: how many tiles, counted from the very first, each user needs; -inf after them.
        ``more`` [U, places]: added to the products.
        """
        columns = np.ascontiguousarray(extended.T)
        step = max(1, SCORES_IN_CACHE // (TILE_ITEMS * len(extended)))
        maxima = np.full((last - first, TILE_BLOCKS, len(extended)), -np.inf, dtype=np.float32)
        scores = np.empty(min(step, last - first) * TILE_ITEMS * len(extended), dtype=np.float32)
        for tile in range(first, last, step):
            stop = min(tile + step, last)
            users = int(np.searchsorted(-needed, -tile))
            if not users:
                break
            part = self._by_dim[:, tile * TILE_ITEMS : stop * TILE_ITEMS].T
            out = scores[: len(part) * users].reshape(len(part), users)
            np.matmul(part, columns[:, :users], out=out)
            if more is not None:
                out += more[:users, tile * TILE_ITEMS : stop * TILE_ITEMS].T
            masks.apply(out, tile * TILE_ITEMS)
            found = _maximum(out.reshape(stop - tile, BLOCK_ITEMS, TILE_BLOCKS * users))
            maxima[tile - first : stop - first, :, :users] = found.reshape(stop - tile, TILE_BLOCKS, users)
        return maxima.reshape(-1, len(extended))

    def approximate(
        self, extended: Float32Array, blocks: Int64Array, pairs: Pairs | None, *, added: Added | None = None
    ) -> tuple[Float32Array, Int64Array]:
        """Approximate scores of all items of ``blocks`` [U, C] and their places: float32, int64 [U, C * BLOCK_ITEMS].

        Masked items have -inf, and the empty block that pads the list has PADDING.
        """
        users, width = blocks.shape
        scores = np.empty((users, width * BLOCK_ITEMS), dtype=np.float32)
        # A few users at a time: with many blocks each, the copies of all would not fit into any cache.
        step = max(1, VALUES_IN_CACHE // (scores.shape[1] * (self._dim + 1)))
        for start in range(0, users, step):
            part = slice(start, start + step)
            gathered = self._blocks[blocks[part]].reshape(-1, scores.shape[1], self._dim + 1)
            np.matmul(gathered, extended[part, :, None], out=scores[part, :, None])
        tile, place = np.divmod(blocks, TILE_BLOCKS)
        first = tile * TILE_ITEMS + place
        places = (first[:, :, None] + TILE_BLOCKS * np.arange(BLOCK_ITEMS)).reshape(users, -1)
        if added is not None:
            scores += np.take_along_axis(added.approximate, places, axis=1)
        if pairs is not None:
            slots = np.full((users, len(self._blocks)), -1, dtype=np.int32)
            slots[np.arange(users)[:, None], blocks] = np.arange(width, dtype=np.int32)
            owner, barred = pairs
            slot = slots[owner, barred // TILE_ITEMS * TILE_BLOCKS + barred % TILE_BLOCKS]
            chosen = slot >= 0
            within = barred[chosen] % TILE_ITEMS // TILE_BLOCKS
            scores[owner[chosen], slot[chosen] * BLOCK_ITEMS + within] = -np.inf
        return scores, places

    def near_best(
        self,
        extended: Float32Array,
        k: int,
        margin: float,
        barred: Int64Array | None,
        *,
        limit: int,
        added: Added | None = None,
    ) -> Int64Array | None:
        """Places of the items that can be among the ``k`` best of one user, with little setup; None if above ``limit``.

        A few users share little work, so there are no blocks, and the first tiles decide how far to search.
        """
        done = min(self.layout.tiles, max(FIRST_TILES, 2 * k // TILE_ITEMS + 1))
        scores = self._scores_of_one(extended, 0, done, barred, added)
        floor = kth_largest(scores[None], k)[0] - 3 * margin
        norm = np.linalg.norm(extended[None, :-1].astype(np.float64), axis=1)
        reachable = self.layout.reachable(norm)[0]
        if added is not None:
            reachable = reachable + added.reach[0]
        needed = int(np.count_nonzero(reachable >= floor))
        if needed > done:
            scores = np.concatenate([scores, self._scores_of_one(extended, done, needed, barred, added)])
        places = np.flatnonzero(scores >= np.float32(max(floor, LOWEST)))
        if len(places) > limit:
            floor = kth_largest(scores[None], k)[0] - 3 * margin
            places = np.flatnonzero(scores >= np.float32(max(floor, LOWEST)))
        return places if len(places) <= limit else None

    def _scores_of_one(
        self, extended: Float32Array, first: int, last: int, barred: Int64Array | None, added: Added | None
    ) -> Float32Array:
        start, stop = first * TILE_ITEMS, last * TILE_ITEMS
        scores: Float32Array = extended @ self._by_dim[:, start:stop]
        if added is not None:
            scores += added.approximate[0, start:stop]
        if barred is not None:
            scores[barred[(barred >= start) & (barred < stop)] - start] = -np.inf
        return scores


class _Masks:
    """Masked (user, item place) pairs, prepared for masking tiles of scores."""

    def __init__(self, pairs: Pairs | None, users: int) -> None:
        self._any = pairs is not None
        if pairs is not None:
            order = np.argsort(pairs[1], kind="stable")
            self._owners, self._places = pairs[0][order], pairs[1][order]
            self._columns = self._owners
            self._users = users

    def renumber(self, active: Int64Array) -> None:
        """From now on, column c of the scores is user ``active[c]``."""
        if self._any:
            column_of = np.full(self._users, self._users)
            column_of[active] = np.arange(len(active))
            self._columns = column_of[self._owners]

    def apply(self, scores: Float32Array, start: int) -> None:
        """Set the masked ones of ``scores`` [items from place ``start`` on, users] to -inf."""
        if self._any:
            low, high = np.searchsorted(self._places, [start, start + len(scores)])
            places, columns = self._places[low:high] - start, self._columns[low:high]
            there = columns < scores.shape[1]
            scores[places[there], columns[there]] = -np.inf


def _maximum(values: Float32Array) -> Float32Array:
    """Maximum of ``values`` [T, BLOCK_ITEMS, N] over the middle axis, [T, N]."""
    if values.shape[2] >= 8 * TILE_BLOCKS:
        reduced: Float32Array = np.maximum.reduce(values, axis=1)
        return reduced
    # Few users make N short, and a reduction pays its start once per N values; halves are long runs.
    while values.shape[1] > 1:
        half = values.shape[1] // 2
        values = np.maximum(values[:, :half], values[:, half:])
    return values[:, 0]
