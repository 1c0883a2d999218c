"""Bench ``start``: open a bundle of 604,000 users, against reading its tables and building a dictionary of its ids.

And the check of all hashes, against one SHA-256 after the other: a step of its own, in parallel, so by the clock on
the wall.
"""

from __future__ import annotations

import hashlib
import mmap
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from bench.drawn_bundle import write_drawn_bundle
from bench.harness import Comparison, Point, Row, Size, timed
from diffcdr.bundle.format import check_files
from diffcdr.bundle.reader import open_bundle, read_manifest

NAME = "start"
USERS, ITEMS, SEEN = 604_000, 64_443, 10


def bench(size: Size) -> Iterator[Row]:
    """At the full size, and at parts of it to show that opening does not grow."""
    if size == "full":
        for share in (100, 10):
            yield from compare(users=USERS // share, opening_floor=None, hashing_floor=None)
    yield from compare(users=USERS if size == "full" else USERS // 2, opening_floor=10.0, hashing_floor=0.5)


def compare(*, users: int, opening_floor: float | None, hashing_floor: float | None) -> Iterator[Row]:
    """One bundle: opening it, then checking it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle"
        write_drawn_bundle(path, users=users, items=ITEMS, seen=SEEN)
        manifest, _ = read_manifest(path)
        mapped = timed(lambda: _map_all(path, manifest.files), clock=time.perf_counter)
        yield Comparison(
            bench=NAME,
            case=f"open {users:,} users",
            ours=lambda: open_bundle(path, verify=False),
            baseline=lambda: read_whole(path),
            amount=1.0,
            unit="opens/s",
            floor=opening_floor,
            clock=time.perf_counter,
            point=Point("open a bundle", "users", users, 1.0 / mapped),
        ).run()
        size = sum(record.bytes for record in manifest.files.values())
        yield Comparison(
            bench=NAME,
            case=f"check hashes of {size / 1e6:,.0f} MB",
            ours=lambda: check_files(path, manifest, contents=True),
            baseline=lambda: [hashlib.sha256((path / name).read_bytes()).digest() for name in manifest.files],
            amount=size / 1e9,
            unit="GB/s",
            floor=hashing_floor,
            clock=time.perf_counter,
        ).run()


def _map_all(path: Path, names: Iterable[str]) -> None:
    for name in names:
        with (path / name).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
            pass


def read_whole(path: Path) -> tuple[dict[str, int], list[object]]:
    """The reference for opening: every table into memory, and a dictionary from user id to row."""
    tables: list[object] = [np.load(file) for file in sorted(path.rglob("*.npy"))]
    ids = np.load(path / "source_users" / "ids.npy").tolist()
    return {text.decode(): row for row, text in enumerate(ids)}, tables
