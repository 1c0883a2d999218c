"""Offline bulk scoring: the same lists as the service gives, for files of users, as one Parquet file.

Users are worked through in parts of about ``PART_ROWS`` rows. Each part is written to a directory beside the output
and moved into place when it is complete, so that memory stays bounded and an interrupted run can go on; at the end
the parts are streamed into one file, which appears under its name only when it is whole.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from diffcdr.bundle.reader import Bundle
from diffcdr.errors import InputError
from diffcdr.progress import Reporter
from diffcdr.recommend.recommender import ROW_STRATEGIES, Recommender, TopRows
from diffcdr.recommend.transfer import Device

PART_ROWS = 1_000_000
BATCH_USERS = 2_048
COMPILED_USERS = 50_000
"""From how many users on it pays to load compiled loops, where there are any."""
USER_COLUMN = "user_id"
PLAN_FILE = "plan.json"

Layout = Literal["long", "lists"]


@dataclass(frozen=True)
class ScoreOptions:
    """What to score, and how it is laid out.

    ``diversity``: 0 to 1, see :mod:`diffcdr.search.diversity`.
    ``layout`` "long": one row per (user_id, rank from 1, item_id, score, strategy); "lists": one row per user with
    user_id, item_ids, scores and strategy.
    """

    k: int = 20
    exclude_seen: bool = True
    layout: Layout = "long"
    diversity: float = 0.0


@dataclass(frozen=True)
class ScoreRequest:
    """What a command asks of an engine.

    ``users``: ids, None for every source user of the bundle. ``resume``: go on with what an interrupted run left.
    ``opted_out``: ids of users who opted out or are to be forgotten: they get the popular list.
    """

    users: pl.Series | None
    options: ScoreOptions
    resume: bool = False
    opted_out: pl.Series | None = None


@dataclass(frozen=True)
class ScoreReport:
    """What a run did. ``strategies``: users by the strategy that answered them."""

    users: int
    rows: int
    parts_reused: int
    strategies: dict[str, int]


@dataclass(frozen=True)
class Plan:
    """Everything the parts depend on: a run may only go on with parts of the same plan."""

    bundle: str
    users: str
    k: int
    exclude_seen: bool
    layout: str
    diversity: float
    part_users: int
    opted_out: str | None = None


def score_users(
    recommender: Recommender,
    users: pl.Series,
    out: Path,
    *,
    options: ScoreOptions,
    reporter: Reporter,
    resume: bool = False,
    threads: int = 1,
    opted_out: pl.Series | None = None,
) -> ScoreReport:
    """Write the ranked lists of ``users`` to ``out``, in the order of ``users``.

    The result depends on the bundle, the users and the options alone: neither on ``threads`` nor on interruptions.

    Args:
        recommender: answers for its bundle; users it does not know get the popular list.
        users: ids, as strings (:func:`read_users`, :func:`all_users`).
        out: the Parquet file to write; replaced in one step when everything is done.
        options: list length and layout.
        reporter: told about progress.
        resume: go on with the parts that an interrupted run left.
        threads: batches scored at the same time.
        opted_out: ids of users who opted out or are to be forgotten: they get the popular list.

    Raises:
        InputError: nothing to score, ``out`` cannot be written, the parts there are of another run, or an option is
            out of its range.
    """
    plan = make_plan(recommender.bundle.id, users, options, opted_out=opted_out)
    parts = _open_parts(out, plan, resume=resume)
    scorer = Scorer(recommender, options, opted_out=opted_out)
    reused = 0
    with (
        threadpool_limits(limits=1, user_api="blas"),
        ThreadPoolExecutor(max_workers=threads) as pool,
        reporter.task("Scoring", total=len(users), unit="users") as task,
    ):
        for number, start in enumerate(range(0, len(users), plan.part_users)):
            part = parts / f"{number:06}.parquet"
            chosen = users.slice(start, plan.part_users)
            if part.exists():
                reused += 1
                task.advance(len(chosen))
                continue
            batches = [chosen.slice(first, BATCH_USERS) for first in range(0, len(chosen), BATCH_USERS)]
            frames = []
            for batch, frame in zip(batches, pool.map(scorer, batches), strict=True):
                frames.append(frame)
                task.advance(len(batch))
            _write_whole(pl.concat(frames).lazy(), part)
    _write_whole(pl.scan_parquet(parts / "*.parquet"), out)
    shutil.rmtree(parts)
    return _report(out, options, users=len(users), reused=reused)


def recommender_for(users: int, bundle: Bundle, *, device: Device) -> Recommender:
    """Ready to answer so many ``users`` of ``bundle``: with compiled loops, if there are any, where they pay."""
    recommender = Recommender(bundle, device=device)
    if users >= COMPILED_USERS:
        recommender.compile()
    return recommender


def all_users(recommender: Recommender) -> pl.Series:
    """Every source user of the bundle, in id order."""
    return decode_ids(recommender.bundle.source_users.ids.array)


def read_users(path: Path) -> tuple[pl.Series, int]:
    """User ids from a file, in its order, each once, and how many lines were left out as empty or repeated.

    Parquet and CSV or TSV (by file name, ``.gz`` too) are read by their column ``user_id``; anything else as text,
    one id a line, unless its first line is the header of a table that begins with ``user_id``.

    Raises:
        InputError: the file cannot be read, or has no such column.
    """
    try:
        ids = _read_column(path)
    except (OSError, EOFError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"cannot read users from {path}: {reason}") from error
    kept = ids.drop_nulls()
    kept = kept.filter(kept != "").unique(maintain_order=True)
    return kept.rename(USER_COLUMN), len(ids) - len(kept)


def _read_column(path: Path) -> pl.Series:
    kind = path.name.removesuffix(".gz").rpartition(".")[2].lower()
    if kind not in ("parquet", "csv", "tsv"):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        lines = content.decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n").split("\n") if content else []
        if lines and lines[0].startswith(f"{USER_COLUMN},"):
            # Read as lines, no id would be anybody's, and a list of people to leave out would leave out nobody.
            return pl.read_csv(content, infer_schema=False)[USER_COLUMN]
        return pl.Series(USER_COLUMN, lines[1:] if lines[:1] == [USER_COLUMN] else lines, dtype=pl.String)
    if kind == "parquet":
        frame = pl.scan_parquet(path)
    else:
        frame = pl.scan_csv(path, separator="\t" if kind == "tsv" else ",", infer_schema=False)
    names = frame.collect_schema().names()
    if USER_COLUMN not in names:
        raise InputError(f"{path} has no column {USER_COLUMN} (its columns: {', '.join(names)}); rename one")
    return frame.select(pl.col(USER_COLUMN).cast(pl.String)).collect()[USER_COLUMN]


class Scorer:
    """Turns user ids into rows of the output; rows become ids by a vectorised gather.

    ``opted_out``: ids that get the popular list, whatever is known of them.
    """

    def __init__(self, recommender: Recommender, options: ScoreOptions, *, opted_out: pl.Series | None = None) -> None:
        self._recommender = recommender
        self._options = options
        self._opted_out = None if opted_out is None else opted_out.implode()
        self._item_ids = decode_ids(recommender.bundle.target_items.ids.array)
        self._strategies = pl.Series("strategy", ROW_STRATEGIES, dtype=pl.Enum(ROW_STRATEGIES))

    def __call__(self, users: pl.Series) -> pl.DataFrame:
        """The rows of ``users``, in their order."""
        options = self._options
        asked = users
        if self._opted_out is not None:
            # Nobody's id is empty: nothing stored of these users is looked at.
            asked = users.to_frame().select(pl.when(~pl.first().is_in(self._opted_out)).then(pl.first())).to_series()
        top = self._recommender.top_rows(
            asked.fill_null("").to_list(), options.k, exclude_seen=options.exclude_seen, diversity=options.diversity
        )
        strategies = self._strategies.gather(top.strategies)
        frame = self._long(users, strategies, top)
        if options.layout == "long":
            return frame
        lists = frame.group_by(USER_COLUMN, maintain_order=True).agg(
            pl.col("item_id").alias("item_ids"), pl.col("score").alias("scores")
        )
        whole = pl.DataFrame({USER_COLUMN: users, "strategy": strategies})
        return whole.join(lists, on=USER_COLUMN, how="left", maintain_order="left").select(
            USER_COLUMN, pl.col("item_ids", "scores").fill_null([]), "strategy"
        )

    def _long(self, users: pl.Series, strategies: pl.Series, top: TopRows) -> pl.DataFrame:
        owners, places = np.nonzero(top.items >= 0)
        return pl.DataFrame(
            {
                USER_COLUMN: users.gather(owners),
                "rank": pl.Series((places + 1).astype(np.uint32)),
                "item_id": self._item_ids.gather(top.items[owners, places]),
                "score": top.scores[owners, places],
                "strategy": strategies.gather(owners),
            }
        )


def decode_ids(ids: np.ndarray[tuple[int, ...], np.dtype[np.bytes_]]) -> pl.Series:
    """Ids of an :class:`~diffcdr.bundle.ids.IdTable`'s array, as text."""
    return pl.Series(USER_COLUMN, ids.tolist(), dtype=pl.Binary).cast(pl.String)


def make_plan(bundle_id: str, users: pl.Series, options: ScoreOptions, *, opted_out: pl.Series | None) -> Plan:
    """What the lists of ``users`` depend on.

    Raises:
        InputError: there is nothing to score.
    """
    if options.k < 1:
        raise InputError("k must be at least 1")
    if not len(users):
        raise InputError("there are no users to score; give a file with at least one user id")
    return Plan(
        bundle=bundle_id,
        users=_digest(users),
        k=options.k,
        exclude_seen=options.exclude_seen,
        layout=options.layout,
        diversity=options.diversity,
        part_users=max(BATCH_USERS, PART_ROWS // options.k),
        opted_out=None if opted_out is None else _digest(opted_out.sort()),
    )


def _digest(ids: pl.Series) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(ids), PART_ROWS):
        digest.update("\n".join(ids.slice(start, PART_ROWS).to_list()).encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()


def _open_parts(out: Path, plan: Plan, *, resume: bool) -> Path:
    """The directory for this run's parts: those of an interrupted run of the same plan, or an empty one."""
    if out.is_dir():
        raise InputError(f"{out} is a directory; give the name of a file with --out")
    parts = out.parent / f".{out.name}.parts"
    plan_file = parts / PLAN_FILE
    content = json.dumps(asdict(plan), indent=2)
    with _writing(out, "choose another --out"):
        if resume and plan_file.exists():
            if plan_file.read_text() != content:
                raise InputError(
                    f"{parts} is of another bundle, other users or other options; "
                    "repeat the options of the interrupted run, or leave out --resume to start over"
                )
        else:
            shutil.rmtree(parts, ignore_errors=True)
            parts.mkdir(parents=True)
            plan_file.write_text(content)
    return parts


def _write_whole(frame: pl.LazyFrame, path: Path) -> None:
    """Stream ``frame`` to ``path`` so that it is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    with _writing(path):
        frame.sink_parquet(temporary, compression="zstd", row_group_size=1_000_000)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)


@contextmanager
def _writing(out: Path, remedy: str = "make room and go on with --resume, or choose another --out") -> Iterator[None]:
    try:
        yield
    except (OSError, pl.exceptions.ComputeError) as error:  # polars wraps some of what the system says
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"cannot write {out}: {reason}; {remedy}") from error


def _report(out: Path, options: ScoreOptions, *, users: int, reused: int) -> ScoreReport:
    written = pl.scan_parquet(out)
    one_per_user = written.filter(pl.col("rank") == 1) if options.layout == "long" else written
    counts = one_per_user.group_by("strategy").len().collect()
    rows = written.select(pl.len()).collect().item()
    strategies = dict(zip(counts["strategy"].to_list(), counts["len"].to_list(), strict=True))
    return ScoreReport(users=users, rows=rows, parts_reused=reused, strategies=strategies)
