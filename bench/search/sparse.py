"""Bench ``sparse``: what the sparse term of scores costs, against the same search without it, one thread each.

Each user has 100 source items with 100 target items each, so 10,000 addends, most of them on items of their own. The
limit is reading these addends from the table of neighbours, beside the dense search.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.harness import Comparison, Row, Size
from diffcdr.search.sparse_part import Histories, Neighbours, SparsePart
from diffcdr.search.topk import TopK

NAME = "sparse"
ITEMS, SOURCES = 64_443, 20_000
HISTORY, WIDTH = 100, 100
"""Source items a user, and target items a source item."""
K = 20
FLOORS = {(10, 1): 0.25, (10, 256): 0.1, (64, 256): 0.25}
"""(dim, users) -> least ratio; other cases show how cost grows."""


def bench(size: Size) -> Iterator[Row]:
    """Narrow and wide vectors, one user and many; compiled loops, then NumPy alone."""
    for dim in (10, 64) if size == "short" else (10, 64, 256):
        for users in (1, 256) if size == "short" else (1, 16, 256):
            floor = FLOORS.get((dim, users))
            if size == "full" or floor is not None:
                yield compare(dim=dim, users=users, compiled=True, floor=floor)
    if size == "full":
        for dim in (10, 64):
            for users in (1, 256):
                yield compare(dim=dim, users=users, compiled=False, floor=None)


def compare(*, dim: int, users: int, compiled: bool, floor: float | None, items: int = ITEMS) -> Row:
    """One case on Gaussian vectors, which leave little to skip; what is added is as large as what is there."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((items, dim), dtype=np.float32)
    queries = rng.standard_normal((users, dim), dtype=np.float32)
    sparse = drawn_part(rng, users=users, items=items, largest=float(np.sqrt(dim)))
    search = TopK(vectors, np.zeros(items, dtype=np.float32), typical_norm=float(np.sqrt(dim)))
    if compiled:
        search.compile(sparse.neighbours)
    way = "" if compiled else ", NumPy"
    return Comparison(
        bench=NAME,
        case=f"top {K} of {items:,} x {dim}, {users:,} users, {HISTORY} x {WIDTH} addends{way}",
        ours=lambda: search.search(queries, K, sparse=sparse),
        baseline=lambda: search.search(queries, K),
        amount=users,
        unit="users/s",
        floor=floor,
    ).run()


def drawn_part(rng: np.random.Generator, *, users: int, items: int, largest: float) -> SparsePart:
    """Histories of ``users`` over a table with one target item of each of ``WIDTH`` strata of the catalogue a row."""
    stratum = items // WIDTH
    drawn = rng.integers(stratum, size=(SOURCES, WIDTH)) + stratum * np.arange(WIDTH)
    neighbours = Neighbours(
        item_weights=(1.0 + rng.random(SOURCES)).astype(np.float32),
        length_power=1.0,
        indptr=np.arange(SOURCES + 1, dtype=np.int64) * WIDTH,
        items=drawn.ravel().astype(np.int32),
        values=(largest * rng.random(SOURCES * WIDTH) ** 4 + 1e-6).astype(np.float32),
        n_items=items,
    )
    return SparsePart(
        neighbours, Histories.pack([np.sort(rng.choice(SOURCES, HISTORY, replace=False)) for _ in range(users)])
    )
