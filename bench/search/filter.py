"""Bench ``filter``: lists of a part of the items, against lists of all of them, by the same recommender."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.drawn_bundle import write_drawn_bundle
from bench.harness import Comparison, Row, Size
from diffcdr.bundle.reader import open_bundle
from diffcdr.filtering.item_filter import ItemFilter
from diffcdr.filtering.subset import SEARCHES_BEFORE
from diffcdr.recommend.recommender import Query, Recommender

NAME = "filter"
ITEMS, MANY_ITEMS, DIM, K = 64_443, 1_000_000, 32, 20
FLOOR = 0.7
"""Where a tenth of the items is allowed."""


def bench(size: Size) -> Iterator[Row]:
    """One user and many at a time; every share, of which a tenth is promised; in the full form of a million items."""
    for items in (ITEMS, MANY_ITEMS) if size == "full" else (ITEMS,):
        with tempfile.TemporaryDirectory() as folder:
            write_drawn_bundle(Path(folder) / "bundle", users=4_096, items=items, dim=DIM)
            recommender = Recommender(open_bundle(Path(folder) / "bundle", verify=False), device="cpu")
            for users in (1, 256):
                for share in (0.9, 0.1, 0.01, 1e-4) if size == "full" else (0.1,):
                    yield compare(recommender, users=users, share=share, repeats=5 if size == "full" else 2)


def compare(recommender: Recommender, *, users: int, share: float, repeats: int) -> Row:
    """The lists of ``users`` users, of a drawn ``share`` of the items; the filter was asked for before."""
    wanted = ItemFilter.of({"where": {"price": {"lt": share}}})
    queries = [Query(f"u{number:07d}", k=K) for number in range(users)]
    filtered = [Query(query.user_id, k=K, filter=wanted) for query in queries]
    for _ in range(SEARCHES_BEFORE + 1):
        recommender.answer(filtered)
    return Comparison(
        bench=NAME,
        case=f"top {K} of {share:.2%} of {len(recommender.bundle.target_items.ids):,} x {DIM}, {users} at a time",
        ours=lambda: recommender.answer(filtered),
        baseline=lambda: recommender.answer(queries),
        amount=users,
        unit="lists/s",
        floor=FLOOR if share == 0.1 else None,
        repeats=repeats,
    ).run()
