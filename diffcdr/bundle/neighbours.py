"""Tables of the sparse term in a bundle: which target items the neighbours of source items suggest.

    neighbours/  indptr items values item_weights      S as CSR over source items, and the weights g of source items
                 user_indptr user_items                which source items each source user has rated

What they mean: :mod:`diffcdr.search.sparse_part`; ``length_power`` stands in the manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from diffcdr.arrays import Float32Array, Int32Array, Int64Array

NEIGHBOURS_FOLDER = "neighbours"
TABLES = ("indptr", "items", "values", "item_weights", "user_indptr", "user_items")

LEAST_WEIGHT, LARGEST_WEIGHT = 1e-9, 1e9
"""Between them, or 0, lies g_i: then no weight leaves float32, whatever the exponent."""
LARGEST_VALUE = 1e15
"""Of ``S``: then no sum leaves it."""
LARGEST_POWER = 2.0


_HEAD_BYTES = 128
"""Of a ``.npy`` file of one axis, as :class:`diffcdr.bundle.writer.BundleWriter` writes it."""


@dataclass(frozen=True)
class NeighbourFacts:
    """How large the sparse term of a bundle is, by the sizes of its files.

    ``entries`` of S; ``ratings``: source ratings that are held for it; ``bytes``: of all tables together, mapped.
    Compiled search loops hold eight bytes an entry besides.
    """

    entries: int
    ratings: int
    bytes: int

    @classmethod
    def of(cls, sizes: Mapping[str, int]) -> Self:
        """``sizes``: bytes of each file of the bundle, by name."""
        each = {name: sizes[f"{NEIGHBOURS_FOLDER}/{name}.npy"] for name in TABLES}
        entries, ratings = ((each[name] - _HEAD_BYTES) // 4 for name in ("items", "user_items"))
        return cls(entries=entries, ratings=ratings, bytes=sum(each.values()))


@dataclass(frozen=True)
class NeighbourTables:
    """``indptr`` int64 [m + 1], ``items`` int32 [R], ascending in each row, and ``values`` float32 [R], above 0: S.

    ``item_weights`` float32 [m]. ``user_indptr`` int64 [n + 1], ``user_items`` int32 [H], ascending in each row: source
    items of source users. m source items, n source users.
    """

    indptr: Int64Array
    items: Int32Array
    values: Float32Array
    item_weights: Float32Array
    user_indptr: Int64Array
    user_items: Int32Array

    @classmethod
    def open(cls, array: Callable[[str], Any]) -> Self:
        """The tables, each mapped by its name by ``array``."""
        return cls(*(array(f"{NEIGHBOURS_FOLDER}/{name}.npy") for name in TABLES))
