"""Prepares one domain's ratings on Spark, with the local engine's reading, cleaning, merging and ids.

    slices of files --(the local readers and rules, on executors)--> usable records
        --(one sort by user, item, time, rating)--> runs --(the local merging rule)--> ratings, ordered
        --(streamed by the driver)--> arrays

A slice is a few row groups of a Parquet file, or a whole file of another kind. The sort's ranges are of users and items
together, so that a user with very many ratings is spread over several. Ids have to fit into the driver's memory,
ratings have not; executors read the files, and write sorted ones, on storage that the driver sees under the same paths.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.storagelevel import StorageLevel

from diffcdr.atomic import file_sha256
from diffcdr.bundle.ids import IdTable
from diffcdr.bundle.manifest import InputFile
from diffcdr.errors import InputError
from diffcdr.files.folders import Part, joined_sha256, parts
from diffcdr.files.reading import Reading
from training.data.cleaning import merge_runs, sift, with_notes
from training.data.doubts import Rules, judge
from training.data.findings import Findings
from training.data.readers import check_alike, is_parquet, no_ratings, read_part
from training.data.tables import DomainFacts, DomainMaker, DomainWriter
from training.data.times import in_microseconds
from training.spark.arrow import ddl, numbers, on_numbers
from training.spark.session import ask_executors, clear_failures, map_numbers, open_session

SLICE_ROWS = 1_000_000
"""Records that an executor reads, sorts or merges at a time, about."""
STREAM_ROWS = 1_000_000

BATCH_ROWS = 100_000
"""Of the Arrow batches that go through an executor."""

RATINGS = pa.schema(
    [("user_id", pa.string()), ("item_id", pa.string()), ("rating", pa.float64()), ("timestamp", pa.int64())]
)
SIFTED = pa.schema([*RATINGS, ("slice", pa.int64()), ("findings", pa.string()), ("how", pa.string())])
ORDER = ("user_id", "item_id", "timestamp", "rating")
"""Unknown times come first, and text goes by its UTF-8 bytes, in Spark as in the local engine."""


@dataclass(frozen=True)
class Slice:
    """Rows of a part: ``rows`` is (first, how many), or None for all of it."""

    part: Part
    rows: tuple[int, int] | None = None


@contextmanager
def open_makers(master: str | None, settings: Sequence[str]) -> Iterator[Callable[..., DomainMaker]]:
    """:func:`spark_maker` on a session that lives as long as the block; raises as :func:`open_session`."""
    with open_session(master, settings) as session:
        yield partial(spark_maker, session)


def spark_maker(
    session: SparkSession,
    path: Path,
    *,
    rating_range: tuple[float, float],
    excluded_users: pl.Series | None = None,
    excluded_found: set[str] | None = None,
    reading: Reading | None = None,
    rules: Rules | None = None,
) -> DomainMaker:
    """As :func:`training.data.domains.load_domain` and a local maker, on the executors of ``session``.

    The maker raises InputError as those do, for the same files.
    """

    def make(folder: Path) -> DomainFacts:
        whole, name = path.absolute(), path.absolute().name
        files = parts(whole)
        how_to_read = reading or Reading()
        judged = rules or Rules()
        check_alike(files, reading=how_to_read)
        ask_executors(session, partial(_check_storage, file=files[0].file, folder=folder.parent))
        scratch = folder.with_name(f".{folder.name}.scratch")
        sifting = _Sifting(how_to_read, rating_range, excluded_users)
        with clear_failures(f"preparing {path}"):
            digests = map_numbers(session, len(files), lambda number: file_sha256(files[number].file))
            sifted = _sifted(session, [each for part in files for each in _slices(part)], sifting)
            try:
                findings, how = _findings(sifted)
                if not findings.rows:
                    raise no_ratings(path)
                warnings = judge(name, findings, rating_range=rating_range, rules=judged)
                if excluded_found is not None:
                    excluded_found.update(findings.excluded)
                ranges = max(session.sparkContext.defaultParallelism, findings.usable // SLICE_ROWS)
                _merge(sifted, scratch, ranges=ranges, mixed_times=findings.mixed_times)
            finally:
                sifted.unpersist()
        kept = _write_arrays(scratch, folder)
        shutil.rmtree(scratch)
        report = findings.report(name, kept=kept, how=how)
        file = InputFile(
            name=name,
            sha256=joined_sha256(whole, [part.file for part in files], digests),
            rows_read=report.rows_read,
            rows_kept=kept,
            cleaning=report.dropped,
            noted=report.noted,
            how=report.how,
            rating_range=rating_range,
            found_range=findings.range,
        )
        return DomainFacts.of(file, report, warnings)

    return make


@dataclass(frozen=True)
class _Sifting:
    reading: Reading
    rating_range: tuple[float, float]
    excluded_users: pl.Series | None


def _check_storage(number: int, *, file: Path, folder: Path) -> None:
    if not os.access(file, os.R_OK):
        raise InputError(f"executors cannot read {file}; put it on storage that all machines see under this path")
    if not os.access(folder, os.W_OK):
        raise InputError(f"executors cannot write to {folder}; choose an --out that all machines see under this path")


def _slices(part: Part) -> Iterator[Slice]:
    """Row groups of a Parquet file together, up to about ``SLICE_ROWS``; another file as a whole."""
    if not is_parquet(part):
        yield Slice(part)
        return
    with pq.ParquetFile(part.file) as opened:
        sizes = [opened.metadata.row_group(group).num_rows for group in range(opened.metadata.num_row_groups)]
    first = size = 0
    for rows in sizes:
        if size and size + rows > SLICE_ROWS:
            yield Slice(part, (first, size))
            first, size = first + size, 0
        size += rows
    yield Slice(part, (first, size))


def _sifted(session: SparkSession, slices: Sequence[Slice], rules: _Sifting) -> DataFrame:
    """Usable records of all ``slices``, and for each a row of its own with what was found in it."""

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in numbers(batches):
            part = read_part(slices[number].part, reading=rules.reading, rows=slices[number].rows)
            sifted = sift(part.frame, rating_range=rules.rating_range, excluded_users=rules.excluded_users)
            findings = replace(sifted.findings, noted=with_notes(sifted.findings.noted, part.noted))
            told = pl.DataFrame(
                {"slice": [number], "findings": [findings.as_json()], "how": [json.dumps(dict(part.how))]}
            )
            for frame in (sifted.good, told):
                yield from _batches(frame, SIFTED)

    return on_numbers(session, len(slices), read, SIFTED).persist(StorageLevel.DISK_ONLY)


def _findings(sifted: DataFrame) -> tuple[Findings, dict[str, str]]:
    rows = sifted.where("findings is not null").select("slice", "findings", "how").collect()
    ordered = sorted(rows, key=lambda row: row["slice"])
    return reduce(add, (Findings.from_json(row["findings"]) for row in ordered)), json.loads(ordered[0]["how"])


def _merge(sifted: DataFrame, out: Path, *, ranges: int, mixed_times: bool) -> None:
    """Write one rating for each user and item to the folder ``out``, its files in order, and ordered within."""
    records = sifted.where("findings is null").select(*RATINGS.names)
    if mixed_times:
        records = records.mapInArrow(_one_unit, ddl(RATINGS))
    ordered = records.repartitionByRange(ranges, "user_id", "item_id").sortWithinPartitions(*ORDER)
    ordered.mapInArrow(_merged, ddl(RATINGS)).write.parquet(str(out), compression="zstd")


def _one_unit(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        frame = pl.DataFrame(pl.from_arrow(batch)).with_columns(in_microseconds(pl.col("timestamp")))
        yield from _batches(frame, RATINGS)


def _merged(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """One rating for each run of ordered records; the last run of a batch may go on in the next, and waits."""
    waiting = None
    for batch in batches:
        frame = pl.DataFrame(pl.from_arrow(batch))
        frame = frame if waiting is None else pl.concat([waiting, frame])
        user, item = frame.select("user_id", "item_id").row(-1) if frame.height else (None, None)
        last = (pl.col("user_id") == user) & (pl.col("item_id") == item)
        waiting = frame.filter(last)
        yield from _batches(_merge_all(frame.filter(~last)), RATINGS)
    if waiting is not None:
        yield from _batches(_merge_all(waiting), RATINGS)


def _merge_all(frame: pl.DataFrame) -> pl.DataFrame:
    if not frame.height:
        return frame
    begins = (pl.col("user_id") != pl.col("user_id").shift()) | (pl.col("item_id") != pl.col("item_id").shift())
    starts = np.flatnonzero(frame.select(begins.fill_null(True)).to_series().to_numpy())
    return merge_runs(frame, starts=starts)


def _write_arrays(scratch: Path, folder: Path) -> int:
    """Stream the sorted files of ``scratch`` into arrays; how many ratings there are."""
    files = sorted(scratch.glob("part-*.parquet"))
    lazy = pl.scan_parquet(files, glob=False)
    rows, untimed = lazy.select(pl.len(), pl.col("timestamp").null_count().alias("untimed")).collect().row(0)
    users, items = (
        lazy.select(pl.col(name).unique()).collect(engine="streaming").to_series().sort()
        for name in ("user_id", "item_id")
    )
    writer = DomainWriter(folder, users=IdTable.build(users), items=IdTable.build(items), rows=rows, timed=not untimed)
    user, item = pl.Enum(users), pl.Enum(items)
    for file in files:
        with pq.ParquetFile(file) as opened:
            for batch in opened.iter_batches(STREAM_ROWS):
                frame = pl.DataFrame(pl.from_arrow(batch)).cast({"user_id": user, "item_id": item})
                writer.append(
                    user_rows=frame["user_id"].to_physical().to_numpy(),
                    item_rows=frame["item_id"].to_physical().to_numpy(),
                    ratings=frame["rating"].cast(pl.Float32).to_numpy(),
                    **({} if untimed else {"timestamps": frame["timestamp"].to_numpy()}),
                )
    writer.close()
    return int(rows)


def _batches(frame: pl.DataFrame, schema: pa.Schema) -> list[pa.RecordBatch]:
    """``frame`` as Arrow, missing columns null."""
    missing = [pl.lit(None).alias(name) for name in schema.names if name not in frame.columns]
    table = frame.with_columns(missing).select(schema.names).to_arrow()
    batches: list[pa.RecordBatch] = table.cast(schema).to_batches(max_chunksize=BATCH_ROWS)
    return batches
