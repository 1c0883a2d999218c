"""Writes files that look like those of the paper's three tasks: same names, same format, same counts, drawn ratings.

    python -m scripts.paper_files DIR [--share 1.0]
    diffcdr experiment --paper-task 3 --data DIR --out OUT

The published review files cannot be passed on. These have as many users, items, ratings and users in both domains as
Table 1 says, so that reading, memory and time can be tried at full size. Users have one taste in all domains; figures
of quality cannot be compared with the paper's.
"""

from __future__ import annotations

import argparse
import gzip
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from diffcdr.arrays import Int64Array
from training.experiment.paper import PaperTask, paper_numbers

TASTES = 4
LINES_AT_ONCE = 200_000
FIRST_DAY, DAYS, DAY_S = 12_000, 4_000, 86_400


def write_files(directory: Path, *, share: float, seed: int = 0) -> list[Path]:
    """Write one file a domain, of ``share`` of the published counts; returns their paths."""
    rng = np.random.default_rng(seed)
    tasks = paper_numbers().tasks
    sizes = _sizes(tasks, share)
    members = _members(sizes, {frozenset((t.source, t.target)): _count(t.table_1.overlap, share) for t in tasks})
    n_users = 1 + max(int(rows.max()) for rows in members.values())
    taste, generosity = rng.normal(size=(n_users, TASTES)), rng.normal(scale=0.5, size=n_users)
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (name, (_, n_items, n_ratings)) in enumerate(sizes.items()):
        users, items = _pairs(members[name], n_items, n_ratings, rng)
        quality, genre = rng.normal(scale=0.4, size=n_items), rng.normal(size=(n_items, TASTES))
        liking = 0.3 * np.einsum("rk,rk->r", taste[users], genre[items])
        score = 4.2 + liking + generosity[users] + quality[items] + rng.normal(scale=0.7, size=len(users))
        stars = np.clip(np.rint(score), 1.0, 5.0)
        days = FIRST_DAY + rng.integers(DAYS, size=len(users))
        _write(directory / name, users, items + (number << 24), stars, days * DAY_S)
        paths.append(directory / name)
    return paths


def _sizes(tasks: tuple[PaperTask, ...], share: float) -> dict[str, tuple[int, int, int]]:
    """File name -> users, items, ratings."""
    sizes = {}
    for task in tasks:
        for place, name in enumerate((task.source, task.target)):
            printed = task.table_1.users[place], task.table_1.items[place], task.table_1.ratings[place]
            sizes[name] = tuple(_count(thousands, share) for thousands in printed)
    return {name: (users, items, ratings) for name, (users, items, ratings) in sorted(sizes.items())}


def _count(thousands: int, share: float) -> int:
    return round(1000 * share * thousands)


def _members(sizes: dict[str, tuple[int, int, int]], overlaps: dict[frozenset[str], int]) -> dict[str, Int64Array]:
    """File name -> its users. Each user in two domains is in those two only; the rest are in one."""
    members: dict[str, list[Int64Array]] = {name: [] for name in sizes}
    begun = 0
    for first, second in combinations(sizes, 2):
        both = np.arange(begun, begun := begun + overlaps[frozenset((first, second))])
        members[first].append(both)
        members[second].append(both)
    for name, (users, _, _) in sizes.items():
        alone = users - sum(map(len, members[name]))
        members[name].append(np.arange(begun, begun := begun + alone))
    return {name: np.concatenate(rows) for name, rows in members.items()}


def _pairs(
    members: Int64Array, n_items: int, n_ratings: int, rng: np.random.Generator
) -> tuple[Int64Array, Int64Array]:
    """``n_ratings`` different (user, item) pairs in which every user and every item occurs; both have long tails."""
    activity = np.minimum(rng.pareto(1.2, size=len(members)) + 1.0, 200.0)
    popularity = 1.0 / (50.0 + rng.permutation(n_items)) ** 0.8
    drawn = round(1.3 * n_ratings)
    users = rng.choice(len(members), size=drawn, p=activity / activity.sum())
    items = rng.choice(n_items, size=drawn, p=popularity / popularity.sum())
    # One pair for every user and every item first: these stay.
    users = np.r_[np.arange(len(members)), rng.integers(len(members), size=n_items), users]
    items = np.r_[rng.integers(n_items, size=len(members)), np.arange(n_items), items]
    _, first = np.unique(users * n_items + items, return_index=True)
    kept = np.sort(first)[:n_ratings]
    order = np.lexsort((items[kept], users[kept]))
    return members[users[kept][order]], items[kept][order]


def _write(path: Path, users: Int64Array, items: Int64Array, stars: npt.NDArray[np.float64], times: Int64Array) -> None:
    frame = pl.DataFrame({"user": users, "item": items, "overall": stars, "unixReviewTime": times})
    with (
        path.open("wb") as file,
        gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=1, mtime=0) as zipped,
    ):
        for part in frame.iter_slices(LINES_AT_ONCE):
            lines = part.select(
                reviewerID=pl.format("A{}", pl.col("user").cast(pl.String).str.zfill(13)),
                asin=pl.format("B{}", pl.col("item").cast(pl.String).str.zfill(9)),
                helpful=pl.lit([0, 0]),
                reviewText=pl.lit("Drawn, not written."),
                overall=pl.col("overall"),
                unixReviewTime=pl.col("unixReviewTime"),
            )
            zipped.write(lines.write_ndjson().encode())


def main() -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(description="Files of the format and the counts of the paper's three tasks.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--share", type=float, default=1.0, help="of the published counts, above 0 and up to 1")
    options = parser.parse_args()
    for path in write_files(options.directory, share=options.share):
        print(f"wrote {path} ({path.stat().st_size / 2**20:.0f} MiB)")


if __name__ == "__main__":
    main()
