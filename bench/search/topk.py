"""Bench ``topk``: exact top 20 of all items, against faiss-cpu's ``IndexFlatIP``, one thread each.

faiss cannot leave out items per user; there it is asked for that many more, and they are dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.harness import Comparison, Point, Row, Size, check_equal
from bench.machine import copy_rate, sgemm_rate
from diffcdr.arrays import Float32Array
from diffcdr.errors import MissingExtraError
from diffcdr.search.topk import MaskedRows, TopK

NAME = "topk"
ITEMS = 64_443
K = 20
MASKED = 100


FLOORS = {(10, 1_024, 0): 6.0, (10, 1_024, MASKED): 6.0, (10, 1, 0): 0.7, (64, 1_024, 0): 1.0, (64, 1, 0): 0.35}
"""(dim, users, masked) -> least ratio; other cases show how cost grows."""


def bench(size: Size) -> Iterator[Row]:
    """Wide and narrow, one user and many, with and without masked items; then a growing number of items."""
    for dim in (10, 64):
        for users in (1, 1_024):
            for masked in (0, MASKED):
                floor = FLOORS.get((dim, users, masked))
                if size == "full":
                    yield compare(items=ITEMS, dim=dim, users=users, masked=masked, floor=floor)
                elif floor is not None:
                    yield compare(items=ITEMS, dim=dim, users=users, masked=masked, floor=floor, repeats=2)
    if size == "full":
        yield from sweeps()


def sweeps() -> Iterator[Row]:
    """What a user costs with growing numbers of items and of users at once, with wider vectors and longer lists."""
    for items in (1_000, 10_000, ITEMS, 368_000):
        yield _swept(f"256 users, top {K} of n x 10", "items", items, items=items)
    for users in (1, 4, 16, 64, 256, 1_024):
        yield _swept(f"top {K} of {ITEMS:,} x 10", "users at once", users, users=users)
    for dim in (5, 10, 20, 40, 80):
        yield _swept(f"256 users, top {K} of {ITEMS:,} x k", "k, width of vectors", dim, dim=dim)
    for k in (1, 5, 20, 100, 500):
        yield _swept(f"256 users, top n of {ITEMS:,} x 10", "length of the list", k, k=k)


def _swept(panel: str, axis: str, x: int, *, items: int = ITEMS, dim: int = 10, users: int = 256, k: int = K) -> Row:
    """A row of a sweep. Its limit: the product with all items, or reading their table once for all users."""
    operations, table = 2.0 * items * dim, 4 * items * dim
    seconds = max(operations / sgemm_rate(min(users, 256), dim, min(items, 4_096)), table / copy_rate(table) / users)
    point = Point(panel, axis, x, limit=1.0 / seconds)
    return compare(items=items, dim=dim, users=users, masked=0, floor=None, k=k, repeats=3, point=point)


def compare(
    *,
    items: int,
    dim: int,
    users: int,
    masked: int,
    floor: float | None,
    k: int = K,
    repeats: int = 5,
    point: Point | None = None,
) -> Row:
    """One case on Gaussian vectors, which leave little to skip."""
    faiss = _faiss()
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((items, dim), dtype=np.float32)
    queries = rng.standard_normal((users, dim), dtype=np.float32)
    seen = np.sort(rng.integers(items, size=(users, masked), dtype=np.int32), axis=1)
    mask = MaskedRows.pack(list(seen)) if masked else None
    index = faiss.IndexFlatIP(dim)
    index.add(vectors)
    search = TopK(vectors, np.zeros(items, dtype=np.float32), typical_norm=float(np.sqrt(dim)))
    search.compile()

    def plain() -> Float32Array:
        scores, rows = index.search(queries, k + masked)
        if not masked:
            return np.asarray(scores)
        kept = np.empty((users, k), dtype=np.float32)
        for user in range(users):
            kept[user] = scores[user][~np.isin(rows[user], seen[user])][:k]
        return kept

    case = f"top {k} of {items:,} x {dim}, {users:,} users, {masked} masked"
    check_equal(case, search.search(queries, k, masked=mask)[1], plain(), tolerance=1e-4)
    return Comparison(
        bench=NAME,
        case=case,
        ours=lambda: search.search(queries, k, masked=mask),
        baseline=plain,
        amount=users,
        unit="users/s",
        floor=floor,
        repeats=repeats,
        point=point,
    ).run()


def _faiss() -> Any:
    try:
        import faiss  # noqa: PLC0415 - wanted by this bench alone
    except ImportError as error:
        raise MissingExtraError("the bench topk", extra="ann") from error
    faiss.omp_set_num_threads(1)
    return faiss
