"""Bench ``topk``: exact top 20 of all items, against faiss-cpu's ``IndexFlatIP``, one thread each.

faiss knows no items to leave out per user; its plain way there is to ask for that many more and drop them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from diffcdr.errors import MissingExtraError
from diffcdr.topk import MaskedRows, TopK
from training.bench.harness import Comparison, Row, Size, check_equal

NAME = "topk"
ITEMS = 64_443
K = 20
MASKED = 100

Float32Array = npt.NDArray[np.float32]

FLOORS = {(10, 1_024, 0): 3.0, (10, 1_024, MASKED): 3.0, (10, 1, 0): 0.7, (64, 1_024, 0): 1.0, (64, 1, 0): 0.35}
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
        for items in (1_000, 10_000, 368_000):
            yield compare(items=items, dim=10, users=256, masked=0, floor=None)


def compare(*, items: int, dim: int, users: int, masked: int, floor: float | None, repeats: int = 5) -> Row:
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

    def plain() -> Float32Array:
        scores, rows = index.search(queries, K + masked)
        if not masked:
            return np.asarray(scores)
        kept = np.empty((users, K), dtype=np.float32)
        for user in range(users):
            kept[user] = scores[user][~np.isin(rows[user], seen[user])][:K]
        return kept

    case = f"top {K} of {items:,} x {dim}, {users:,} users, {masked} masked"
    check_equal(case, search.search(queries, K, masked=mask)[1], plain(), tolerance=1e-4)
    return Comparison(
        bench=NAME,
        case=case,
        ours=lambda: search.search(queries, K, masked=mask),
        baseline=plain,
        amount=users,
        unit="users/s",
        floor=floor,
        repeats=repeats,
    ).run()


def _faiss() -> Any:
    try:
        import faiss  # noqa: PLC0415 - wanted by this bench alone
    except ImportError as error:
        raise MissingExtraError("the bench topk", extra="dev") from error
    faiss.omp_set_num_threads(1)
    return faiss
