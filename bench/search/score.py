"""Bench ``score``: users to ranked lists in a Parquet file, against a reference implementation in NumPy.

The reference: ids through a dictionary, a matrix product over all items, ``argpartition``, one frame of all rows.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from rich.console import Console

from bench.drawn_bundle import write_drawn_bundle
from bench.harness import Comparison, Point, Row, Size
from bench.machine import sgemm_rate
from diffcdr.bundle.reader import Bundle, open_bundle
from diffcdr.progress import Reporter
from diffcdr.recommend.list_table import ScoreOptions
from diffcdr.recommend.recommender import Recommender
from diffcdr.score import all_users, score_users

NAME = "score"
ITEMS, DIM, K = 64_443, 10, 20
PLAIN_USERS, PLAIN_BATCH = 1_024, 256


def bench(size: Size) -> Iterator[Row]:
    """The catalogue of Amazon's films; then growing numbers of items."""
    yield compare(users=100_000 if size == "full" else 8_192, items=ITEMS, floor=6.0)
    if size == "full":
        for items in (1_000, 5_000, ITEMS, 368_000):
            limit = sgemm_rate(PLAIN_BATCH, DIM, min(items, 4_096)) / (2.0 * items * DIM)
            point = Point("20,000 users, top 20 of n x 10", "items", items, limit)
            yield compare(users=20_000, items=items, floor=None, point=point)


def compare(*, users: int, items: int, floor: float | None, point: Point | None = None) -> Row:
    """All users of a drawn bundle against the first few of them by the reference implementation."""
    silent = Reporter(Console(file=io.StringIO()))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        write_drawn_bundle(path / "bundle", users=users, items=items, dim=DIM)
        bundle = open_bundle(path / "bundle", verify=False)
        recommender = Recommender(bundle, device="cpu")
        recommender.compile()
        everyone = all_users(recommender)
        few = min(users, PLAIN_USERS)
        rows = {user: row for row, user in enumerate(everyone.to_list())}
        return Comparison(
            bench=NAME,
            case=f"{users:,} users, top {K} of {items:,} x {bundle.manifest.transfer.target_dim}, to Parquet",
            ours=lambda: score_users(
                recommender, everyone, path / "ours.parquet", options=ScoreOptions(k=K), reporter=silent
            ),
            baseline=lambda: plain_score(bundle, rows, everyone[:few].to_list(), path / "plain.parquet"),
            amount=users,
            baseline_amount=few,
            unit="users/s",
            floor=floor,
            repeats=1 if users > PLAIN_USERS else 2,
            point=point,
        ).run()


def plain_score(bundle: Bundle, rows: dict[str, int], users: list[str], out: Path) -> None:
    """Write the ``K`` best items of ``users`` (all known, none warm) to ``out``: user_id, rank, item_id, score."""
    matrix, offset = (np.load(bundle.path / "transfer" / f"{name}.npy") for name in ("matrix", "offset"))
    items = bundle.target_items
    item_ids = np.array([text.decode() for text in items.ids.array.tolist()])
    best: list[npt.NDArray[np.int64]] = []
    scores: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(users), PLAIN_BATCH):
        source = bundle.source_users.vectors[[rows[user] for user in users[start : start + PLAIN_BATCH]]]
        every: npt.NDArray[np.float32] = (source @ matrix + offset) @ items.vectors.T + items.biases
        chosen = np.argpartition(-every, K, axis=1)[:, :K]
        order = np.argsort(-np.take_along_axis(every, chosen, axis=1), axis=1, kind="stable")
        best.append(np.take_along_axis(chosen, order, axis=1))
        scores.append(np.take_along_axis(every, best[-1], axis=1))
    pl.DataFrame(
        {
            "user_id": np.repeat(users, K),
            "rank": np.tile(np.arange(1, K + 1), len(users)),
            "item_id": item_ids[np.concatenate(best).ravel()],
            "score": np.concatenate(scores).ravel(),
        }
    ).write_parquet(out)
