"""Bench ``scale``: preparing, factorising and scoring on Spark as ratings grow, by two executors and by one.

Executors are processes of this machine with a core each; ``ours`` is the rate of two, ``plain`` that of one, by the
clock on the wall, and the third line of the figure is the local engine in one process. Users and items grow with the
ratings.
"""

from __future__ import annotations

import io
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import torch
from rich.console import Console

from bench.drawn_bundle import write_drawn_bundle
from bench.harness import Point, Row, Size, make_row, timed
from diffcdr.bundle.reader import open_bundle
from diffcdr.commands.engines import load_engine
from diffcdr.errors import InputError
from diffcdr.progress import Reporter
from diffcdr.recommend.list_table import ScoreOptions
from diffcdr.score import ScoreRequest, all_users, recommender_for, score_users
from training.config import load_preset
from training.data.domains import load_domain
from training.data.splits import ratings_without
from training.data.tables import Division, DomainMaker, Tables, domain_maker, open_tables, write_tables
from training.run.base_store import BaseTask, FitBase, base_tasks
from training.run.prepare import fit_base
from training.run.run import Run

NAME = "scale"
SIZES = (100_000, 1_000_000, 10_000_000)
RATINGS_PER_USER = 20
PARTS = 8
DIM, ITERATIONS, SCORED_ITEMS, K = 16, 5, 20_000, 20
LINES = ("one executor", "two executors", "one process, no Spark")
MEMORY_MB = 3072
"""Of an executor's Java process."""

Rates = dict[str, float]
"""By stage: ratings or users a second."""


def bench(size: Size) -> Iterator[Row]:
    """One size in the short form, three in the full one."""
    for ratings in SIZES[:1] if size == "short" else SIZES:
        yield from compare(ratings)


def compare(ratings: int) -> Iterator[Row]:
    """Every stage at one size."""
    with tempfile.TemporaryDirectory() as name:
        work = _Work(Path(name), ratings)
        here = work.local()
        one, two = (work.on_spark(executors) for executors in (1, 2))
    units = {"prepare": "ratings/s", "als": "ratings/s", "score": "users/s"}
    for stage, unit in units.items():
        yield make_row(
            NAME,
            f"{stage}, {ratings:,} ratings, two executors against one",
            ours=two[stage],
            baseline=one[stage],
            floor=None,
            unit=unit,
            point=Point(stage, "ratings", ratings, here[stage], lines=LINES),
        )


class _Work:
    """Drawn ratings of two domains, and a drawn bundle; what is measured on them."""

    def __init__(self, folder: Path, ratings: int) -> None:
        self._folder, self._ratings = folder, ratings
        self._users = ratings // RATINGS_PER_USER
        for seed, domain in enumerate(("films", "books")):
            draw_ratings(folder / domain, ratings=ratings // 2, users=self._users // 2, seed=seed)
        write_drawn_bundle(folder / "bundle", users=self._users, items=SCORED_ITEMS)
        self._config = load_preset("ranking", [f"base.dim={DIM}", f"base.iterations={ITERATIONS}", "base.refit=false"])
        self._silent = Reporter(Console(file=io.StringIO()))

    def local(self) -> Rates:
        """In this process, by one thread."""
        return self._rates(
            prepare=lambda: self._prepare(lambda path: domain_maker(partial(load_domain, path))),
            fit=self._fit_here,
            score=self._score_here,
        )

    def on_spark(self, executors: int) -> Rates:
        """On so many executors."""
        master = f"local-cluster[{executors},1,{MEMORY_MB}]"
        settings = [
            f"spark.executor.memory={MEMORY_MB}m",
            f"spark.default.parallelism={2 * executors}",
            "spark.ui.enabled=false",
            "spark.driver.host=127.0.0.1",
        ]
        with (
            _no_logs_left(),
            load_engine("spark", "prepare")(master, settings) as maker,
            load_engine("spark", "base")(master, settings) as fit,
        ):
            draw_ratings(self._folder / "warm-up", ratings=1_000, users=100, seed=0)
            self._prepare(partial(maker, rating_range=(1.0, 5.0)), films="warm-up", books="warm-up")
            return self._rates(
                prepare=lambda: self._prepare(partial(maker, rating_range=(1.0, 5.0))),
                fit=lambda tables: self._fit_there(tables, fit),
                score=lambda: self._score_there(master, settings),
            )

    def _rates(
        self, *, prepare: Callable[[], object], fit: Callable[[Tables], object], score: Callable[[], object]
    ) -> Rates:
        prepared = timed(prepare, clock=time.monotonic)
        tables = open_tables(self._folder / "tables")
        fitted = timed(lambda: fit(tables), clock=time.monotonic)
        return {
            "prepare": self._ratings / prepared,
            "als": len(tables.pair.source.ratings) / fitted,
            "score": self._users / timed(score, clock=time.monotonic),
        }

    def _prepare(self, make: Callable[[Path], DomainMaker], *, films: str = "films", books: str = "books") -> None:
        write_tables(
            self._folder / "tables",
            source=make(self._folder / films),
            target=make(self._folder / books),
            division=Division(seed=0, **self._config.split.by_user()),
            rating_range=(1.0, 5.0),
        )

    def _task(self, tables: Tables) -> BaseTask:
        return next(base_tasks(tables, self._config))

    def _fit_here(self, tables: Tables) -> None:
        torch.set_num_threads(1)
        run = Run(config=self._config, seed=0, rating_range=(1.0, 5.0))
        table = ratings_without(tables.pair.source, self._task(tables).held)
        fit_base("source", table, run, dim=DIM)

    def _fit_there(self, tables: Tables, fit: FitBase) -> None:
        with tempfile.TemporaryDirectory(dir=self._folder) as out:
            fit(self._task(tables), Path(out))

    def _score_here(self) -> None:
        recommender = recommender_for(self._users, open_bundle(self._folder / "bundle", verify=False), device="cpu")
        out = self._folder / "local.parquet"
        score_users(recommender, all_users(recommender), out, options=ScoreOptions(k=K), reporter=self._silent)

    def _score_there(self, master: str, settings: list[str]) -> None:
        load_engine("spark", "score")(
            str(self._folder / "bundle"),
            str(self._folder / "scored"),
            ScoreRequest(users=None, options=ScoreOptions(k=K)),
            device="cpu",
            reporter=self._silent,
            master=master,
            settings=settings,
        )


def draw_ratings(folder: Path, *, ratings: int, users: int, seed: int) -> None:
    """Write ``ratings`` drawn ratings to ``folder`` as Parquet parts; some users and items have far more than others.

    Users are numbered alike in every domain, so that two share most of theirs. Some pairs come twice.
    """
    if not ratings >= users > 0:
        raise InputError(f"{ratings} ratings of {users} users cannot be drawn; give every user at least one")
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(seed)
    items = max(500, users // 20)
    for part in range(PARTS):
        size = ratings * (part + 1) // PARTS - ratings * part // PARTS
        # The square of an even draw: the first hundredth has a tenth of all.
        user, item = ((random.random(size) ** 2 * count).astype(np.int64) for count in (users, items))
        frame = pl.DataFrame(
            {
                "user_id": pl.Series(user).cast(pl.String).str.zfill(9),
                "item_id": pl.Series(item).cast(pl.String).str.zfill(7),
                "rating": random.integers(1, 6, size).astype(np.float64),
                "timestamp": random.integers(1_600_000_000, 1_700_000_000, size),
            }
        )
        frame.write_parquet(folder / f"part-{part}.parquet", row_group_size=250_000)


@contextmanager
def _no_logs_left() -> Iterator[None]:
    """Remove the logs that executors of the block leave in Spark's own folder."""
    found = find_spec("pyspark")
    logs = Path("nowhere") if found is None or found.origin is None else Path(found.origin).parent / "work"
    before = set(logs.glob("app-*"))
    try:
        yield
    finally:
        for folder in set(logs.glob("app-*")) - before:
            shutil.rmtree(folder, ignore_errors=True)
