"""Bench ``prepare``: Amazon's review files to split tables, against Python's json, dictionaries and a scan a user.

Both sides read the same files, made by the generator of ``diffcdr synth``: two domains of gzipped JSON lines.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.harness import Comparison, Point, Row, Size, timed
from training.data.domains import DomainPair, load_domain, pair_domains
from training.data.splits import HeldOutTables, all_ratings, hold_out, split_overlap
from training.data.synth import SynthSpec, generate
from training.data.synth_files import Format, write

NAME = "prepare"
RATINGS_PER_USER = 15
divide = partial(split_overlap, test_fraction=0.2, validation_fraction=0.1, seed=0)

History = dict[str, list[tuple[str, float]]]


def bench(size: Size) -> Iterator[Row]:
    """Growing numbers of users; the same work a rating at every size, if all is well."""
    if size == "short":
        yield compare(users=6_000, floor=2.0)
        return
    for users in (1_000, 4_000, 20_000):
        yield compare(users=users, floor=2.0 if users == 20_000 else None, swept=True)


def compare(*, users: int, floor: float | None, swept: bool = False) -> Row:
    """Both domains of ``users`` users. The limit of a point of the sweep: to unpack the files, and nothing more."""
    spec = SynthSpec(users=users, items=max(2_000, users // 2), ratings_per_user=RATINGS_PER_USER)
    with tempfile.TemporaryDirectory() as folder:
        written = write(generate(spec), Path(folder), file_format=Format.amazon_json)
        paths = {path.name.partition(".")[0]: path for path, _ in written}
        read = (paths["films"], paths["books"])
        ratings = sum(frame.height for path, frame in written if path in read)
        point = Point("json.gz to split tables", "ratings", ratings, ratings / timed(lambda: _unpack(read)))
        return Comparison(
            bench=NAME,
            case=f"{ratings:,} ratings from json.gz to split tables",
            ours=lambda: prepare(paths["films"], paths["books"]),
            baseline=lambda: plain_prepare(paths["films"], paths["books"]),
            amount=ratings,
            unit="ratings/s",
            floor=floor,
            repeats=1,
            point=point if swept else None,
        ).run()


def _unpack(paths: tuple[Path, ...]) -> None:
    for path in paths:
        gzip.decompress(path.read_bytes())


def prepare(films: Path, books: Path) -> tuple[DomainPair, HeldOutTables]:
    """As training does it: read, clean, encode, pair, split, hold out, histories."""
    pair = pair_domains(load_domain(films), load_domain(books))
    held = hold_out(pair, divide(pair.overlap_ids()))
    for table in (all_ratings(pair.source), held.train):
        table.indptr()
    return pair, held


def plain_prepare(films: Path, books: Path) -> tuple[History, History, dict[str, History]]:
    """Histories by user: (films, books of training users, books of ``validation`` and ``test`` users)."""
    source, target = _plain_read(films), _plain_read(books)
    overlap = sorted(source.keys() & target.keys())
    split = divide(overlap)
    held = {
        name: {overlap[position]: target.pop(overlap[position]) for position in positions.tolist()}
        for name, positions in (("validation", split.validation), ("test", split.test))
    }
    return source, target, held


def _plain_read(path: Path) -> History:
    latest: dict[tuple[str, str], tuple[int, float]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            key = (record["reviewerID"], record["asin"])
            rated = (record["unixReviewTime"], float(record["overall"]))
            latest[key] = max(rated, latest.get(key, rated))
    history: History = defaultdict(list)
    for (user, item), (_, rating) in sorted(latest.items()):
        history[user].append((item, rating))
    return history
