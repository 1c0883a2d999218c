"""Bench ``ann``: the top 20 of a million items by the approximate index, against the exact search, one thread each.

What it finds of the exact best 20, how long it takes to make, and how large it is, beside the same of the exact
search. Vectors are Gaussian, each dimension shorter than the one before, as those of matrix factorisations are.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.harness import Comparison, Row, Size, make_row, timed
from diffcdr.search.approximate import DEFAULT_FLOOR, RECALL_K, ApproximateTopK
from diffcdr.search.build_index import build_index
from diffcdr.search.topk import TopK

NAME = "ann"
USERS = 512
FLOORS = {(1_000_000, 64): 1.5}
"""(items, dim) -> least ratio of users/s; other cases show from where on an index pays."""


def bench(size: Size) -> Iterator[Row]:
    """A hundred thousand items and a million, narrow and wide."""
    if size == "short":
        yield from compare(items=20_000, dim=10)
        return
    for items in (100_000, 1_000_000):
        for dim in (10, 64):
            yield from compare(items=items, dim=dim)


def compare(*, items: int, dim: int, users: int = USERS) -> Iterator[Row]:
    """One catalogue: users/s, recall, items/s of building, bytes an item."""
    rng = np.random.default_rng(0)
    spread = 1.0 / np.sqrt(1.0 + np.arange(dim, dtype=np.float32))
    vectors = rng.standard_normal((items, dim), dtype=np.float32) * spread
    queries = rng.standard_normal((users, dim), dtype=np.float32) * spread
    biases = 0.5 * rng.standard_normal(items, dtype=np.float32)
    case = f"{items:,} items x {dim}"
    laid_out: list[TopK] = []
    layout = timed(lambda: laid_out.append(TopK(vectors, biases, typical_norm=float(np.linalg.norm(spread)))))
    made = []
    building = timed(lambda: made.append(build_index(vectors, biases, queries, offset=0.0, floor=DEFAULT_FLOOR)))
    exact, (content, spec) = laid_out[-1], made[-1]
    exact.compile()
    search = ApproximateTopK(exact, content, spec)
    yield Comparison(
        bench=NAME,
        case=f"top {RECALL_K} of {case}, {users:,} users, {spec.probes} of {spec.lists:,} lists",
        ours=lambda: search.search(queries, RECALL_K),
        baseline=lambda: exact.search(queries, RECALL_K),
        amount=users,
        unit="users/s",
        floor=FLOORS.get((items, dim)),
        repeats=3,
    ).run()
    found = f"share of the exact best {RECALL_K} of {case}"
    yield make_row(NAME, found, ours=spec.recall, baseline=1.0, floor=DEFAULT_FLOOR, unit="share")
    yield make_row(
        NAME,
        f"index and measure {case}, against laying them out",
        ours=items / building,
        baseline=items / layout,
        floor=None,
        unit="items/s",
    )
    held = (vectors.nbytes + biases.nbytes) / items
    yield make_row(
        NAME,
        f"index of {case}, against vectors and biases",
        ours=content.nbytes / items,
        baseline=held,
        floor=None,
        unit="bytes/item",
    )
