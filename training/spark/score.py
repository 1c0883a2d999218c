"""``diffcdr score --engine spark``: the same lists as locally, by executors that each open the bundle once.

A task is a number: a slice of the users. An executor reads the slice (from the bundle, or from the file that the driver
wrote beside the output), asks the runtime's own recommender, and writes the slice's file whole or not at all. So a task
that Spark runs again does no harm, and a run that is started again finds what is done:

    OUT/part-000000.parquet ...    in the order of the users
    OUT/_plan.json _users.parquet  while it is under way
    OUT/_SUCCESS                   when it is done: the plan
"""

from __future__ import annotations

import io
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from uuid import uuid4

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession
from threadpoolctl import threadpool_limits

from diffcdr.bundle.reader import MANIFEST_HASH, Bundle, open_bundle
from diffcdr.device.names import Device
from diffcdr.errors import BundleError, InputError
from diffcdr.files.users import USER_COLUMN
from diffcdr.filtering.changes import ItemChanges
from diffcdr.progress import Reporter
from diffcdr.recommend.list_table import BATCH_USERS, ScoreOptions, Scorer, check_options, decode_ids
from diffcdr.recommend.recommender import Recommender
from diffcdr.score import COMPILED_USERS, Plan, ScoreReport, ScoreRequest, make_plan, recommender_for, say_found
from training.spark.arrow import numbers, on_numbers
from training.spark.session import ask_executors, clear_failures, open_session
from training.spark.storage import Storage

PLAN, USERS, DONE = "_plan.json", "_users.parquet", "_SUCCESS"
TASKS_PER_CORE = 4
"""So many slices a core, where there are users enough: a slow machine then does not keep all others waiting."""
REPORT = pa.schema([("rows", pa.int64()), ("strategies", pa.string())])


@dataclass(frozen=True)
class Job:
    """The data of every task. ``listed``: the users are in the output's ``_users.parquet``, else the bundle's."""

    bundle: Storage
    bundle_id: str
    out: Storage
    users: int
    part_users: int
    listed: bool
    options: ScoreOptions
    device: Device
    opted_out: pl.Series | None
    changes: ItemChanges | None = None

    @property
    def parts(self) -> int:
        """Number of slices."""
        return -(-self.users // self.part_users)


def score_on_spark(
    bundle: str,
    out: str,
    asked: ScoreRequest,
    *,
    device: Device,
    reporter: Reporter,
    master: str | None = None,
    settings: Sequence[str] = (),
) -> ScoreReport:
    """Write the ranked lists that ``asked`` is for to the folder ``out``, as Parquet files.

    Their rows are those of :func:`diffcdr.score.score_users`, in its order when the files are read in order of name.

    Args:
        bundle: a directory that executors see under the same path, or a URL; they keep a copy of that.
        out: the folder, a path that executors see too, or a URL.
        asked: users and options.
        device: where a transfer graph runs on the executors.
        reporter: told about progress.
        master: as :func:`training.spark.session.open_session`.
        settings: likewise.

    Raises:
        InputError: nothing to score, a list of users none of whom the bundle knows, titles of a bundle without,
            ``out`` cannot be written, or holds files of another run; or Spark gives up.
        BundleError: there is no bundle, or executors cannot read it.
    """
    place, target = Storage.at(bundle), Storage.at(out)
    opened = _open(place)
    say_found(opened, asked, reporter=reporter)
    check_options(opened, asked.options, changes=None if asked.state is None else asked.state.changes)
    users = decode_ids(opened.source_users.ids.array) if asked.users is None else asked.users
    plan = make_plan(opened.id, users, asked.options, opted_out=asked.away, state=asked.state)
    with open_session(master, settings) as session:
        cores = session.sparkContext.defaultParallelism
        share = max(BATCH_USERS, -(-len(users) // (TASKS_PER_CORE * cores)))
        plan = _open_parts(target, replace(plan, part_users=min(plan.part_users, share)), resume=asked.resume)
        job = Job(
            bundle=place,
            bundle_id=opened.id,
            out=target,
            users=len(users),
            part_users=plan.part_users,
            listed=asked.users is not None,
            options=asked.options,
            device=device,
            opted_out=asked.away,
            changes=None if asked.state is None else asked.state.changes,
        )
        if job.listed:
            target.write(USERS, _listed(users, part_users=plan.part_users))
        ask_executors(session, partial(check_executor, job=job))
        reused = sum(map(_is_part, target.names()))
        with reporter.task("Scoring", total=len(users), unit="users") as task:
            report = _run(session, job)
            task.advance(report.users)
    target.write(DONE, _as_json(plan))
    target.remove([name for name in target.names() if name in (PLAN, USERS)])
    return replace(report, parts_reused=reused)


def score_part(job: Job, number: int) -> pl.DataFrame:
    """The rows of slice ``number``: read where its file is there, else scored and written. A task's work."""
    name = f"part-{number:06}.parquet"
    if name in job.out.names():
        return pl.read_parquet(job.out.read(name))
    # Many are as good as very many: a job of another size then finds the recommender of the last.
    recommender = _recommender(job.bundle, job.bundle_id, job.device, min(job.users, COMPILED_USERS))
    scorer = Scorer(recommender, job.options, opted_out=job.opted_out, changes=job.changes)
    users = _users(job, number, recommender.bundle)
    with threadpool_limits(limits=1, user_api="blas"):
        frame = pl.concat([scorer(users.slice(first, BATCH_USERS)) for first in range(0, len(users), BATCH_USERS)])
    job.out.write(name, _parquet(frame))
    return frame


def _run(session: SparkSession, job: Job) -> ScoreReport:
    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in numbers(batches):
            frame = score_part(job, number)
            answered = frame.filter(pl.col("rank") == 1) if job.options.layout == "long" else frame
            counts = dict(answered["strategy"].cast(pl.String).value_counts().iter_rows())
            yield pa.RecordBatch.from_pylist([{"rows": frame.height, "strategies": json.dumps(counts)}], schema=REPORT)

    with clear_failures("scoring"):
        told = on_numbers(session, job.parts, work, REPORT).collect()
    strategies: Counter[str] = Counter()
    for row in told:
        strategies.update(json.loads(row["strategies"]))
    return ScoreReport(job.users, rows=sum(row["rows"] for row in told), parts_reused=0, strategies=dict(strategies))


def _open_parts(out: Storage, plan: Plan, *, resume: bool) -> Plan:
    """Make ``out`` ready for ``plan``; the plan to follow, with the slices of the run that is gone on with."""
    names = out.names()
    earlier = next((name for name in (PLAN, DONE) if name in names), None)
    if earlier is None and names:
        raise InputError(f"{out.url} holds files of something else ({names[0]}); choose an empty folder for --out")
    if earlier is not None and resume:
        found = json.loads(out.read(earlier))
        plan = replace(plan, part_users=found["part_users"])
        if asdict(plan) != found:
            raise InputError(
                f"{out.url} is of another bundle, other users, other options or another state; "
                "repeat the options of the interrupted run, or leave out --resume to start over"
            )
        return plan
    out.remove([name for name in names if _is_part(name) or name in (PLAN, USERS, DONE)])
    out.write(PLAN, _as_json(plan))
    return plan


def check_executor(number: int, *, job: Job) -> None:
    """See that this executor can read the bundle and write the output, before work starts."""
    _open(job.bundle, job.bundle_id)
    probe = f"_probe-{uuid4().hex}"
    job.out.write(probe, b"")
    job.out.remove([probe])


@lru_cache(maxsize=1)
def _recommender(bundle: Storage, bundle_id: str, device: Device, users: int) -> Recommender:
    """One a process, however many tasks it is given; its tables are mapped, and shared with others of the machine."""
    return recommender_for(users, _open(bundle, bundle_id), device=device)


def _open(place: Storage, bundle_id: str | None = None) -> Bundle:
    """The bundle at ``place``, or this machine's copy of it; ``bundle_id``: which it has to be, None for any."""
    if place.local is not None:
        bundle = open_bundle(place.local, verify=bundle_id is None)
    else:
        if bundle_id is None and MANIFEST_HASH not in place.names():
            raise BundleError(f"{place.url} is not a bundle: it has no {MANIFEST_HASH}; give a directory of one")
        wanted = place.read(MANIFEST_HASH)[:64].decode(errors="replace") if bundle_id is None else bundle_id
        bundle = open_bundle(place.fetch(Path(tempfile.gettempdir()) / f"diffcdr-bundle-{wanted}"), verify=True)
    if bundle_id is not None and bundle.id != bundle_id:
        raise BundleError(
            f"executors find another bundle at {place.url} than the driver ({bundle.id[:12]}, not {bundle_id[:12]}); "
            "put it on storage that all machines share"
        )
    return bundle


def _users(job: Job, number: int, bundle: Bundle) -> pl.Series:
    if job.listed:
        with job.out.open(USERS) as file:
            return pl.Series(USER_COLUMN, pq.ParquetFile(file).read_row_group(number).column(USER_COLUMN).to_pylist())
    return decode_ids(bundle.source_users.ids.array[number * job.part_users : (number + 1) * job.part_users])


def _parquet(frame: pl.DataFrame) -> bytes:
    with io.BytesIO() as file:
        frame.write_parquet(file, compression="zstd")
        return file.getvalue()


def _listed(users: pl.Series, *, part_users: int) -> bytes:
    """The users as Parquet, a row group a slice."""
    with io.BytesIO() as file:
        table = pa.table({USER_COLUMN: pa.array(users.to_list(), pa.string())})
        pq.write_table(table, file, row_group_size=part_users)
        return file.getvalue()


def _is_part(name: str) -> bool:
    return name.startswith("part-") and name.endswith(".parquet")


def _as_json(plan: Plan) -> bytes:
    return json.dumps(asdict(plan), indent=2).encode()
