"""Preparing, factorising and scoring on a real Spark of two executor processes, beside the local way."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import fs
from pyspark.sql import SparkSession
from rich.console import Console

from bench.drawn_bundle import write_drawn_bundle
from diffcdr.errors import BundleError, InputError
from diffcdr.filtering.changes import ChangeLog, ItemChange
from diffcdr.live_state import LiveState
from diffcdr.progress import Reporter
from diffcdr.recommend.list_table import ScoreOptions
from diffcdr.score import ScoreRequest
from tests.bundles import write_bundle
from tests.integration.training.spark_work import (
    RANGE,
    RECORDS,
    SILENT,
    TYPES,
    awkward_parts,
    executor_pids,
    files_of,
    local_rows,
    pair_of_files,
    ridge_figures,
    rows_of,
    score,
)
from tests.object_store import object_store
from tests.spark_cluster import cluster
from tests.waiting import until
from training.config import load_preset
from training.data.domains import load_domain
from training.data.doubts import Rules
from training.data.tables import Division, DomainMaker, Tables, domain_maker, write_tables
from training.run.base_store import StoredBases, fit_bases
from training.spark.als import fit_on_spark
from training.spark.prepare import spark_maker
from training.spark.score import Job, check_executor, score_on_spark
from training.spark.session import ask_executors
from training.spark.storage import Storage

pytestmark = pytest.mark.timeout(600)

DIVISION = Division(seed=3, test_fraction=0.25, validation_fraction=0.2)


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    with cluster() as session:
        yield session


def test_tables_are_the_same_to_the_byte(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.spark.prepare.SLICE_ROWS", 200)
    source = awkward_parts(tmp_path / "films", seed=1, rows=700, users=60, first_user=0)
    target = awkward_parts(tmp_path / "books", seed=2, rows=500, users=50, first_user=20)
    left_out = pl.Series(["ü030", "ü031"])
    options = {"rating_range": RANGE, "excluded_users": left_out, "rules": Rules(range_given=True)}
    written = []
    for name, make in (
        ("local", lambda path: domain_maker(partial(load_domain, path, **options))),
        ("spark", lambda path: spark_maker(spark, path, **options)),
    ):
        out = tmp_path / name
        tables = write_tables(out, source=make(source), target=make(target), division=DIVISION, rating_range=RANGE)
        written.append(files_of(out))
    assert tables.facts.source.file.cleaning.keys() >= {
        "excluded_user",
        "missing_user",
        "id_not_text",
        "rating_out_of_range",
        "duplicate",
    }
    assert written[0].keys() == written[1].keys()
    assert {name for name, content in written[0].items() if written[1][name] != content} == set()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["books", "films", "local", "spark"]


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(parts=st.lists(RECORDS, min_size=1, max_size=3), group_rows=st.integers(1, 40))
def test_whatever_the_records_both_engines_write_the_same_or_refuse_in_the_same_words(
    spark: SparkSession, parts: list[list[dict[str, object]]], group_rows: int
) -> None:
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.spark.prepare.SLICE_ROWS", 10)
        folder = Path(name) / "films"
        folder.mkdir()
        for number, part in enumerate(parts):
            frame = pl.DataFrame(part, schema=TYPES)
            frame.write_parquet(folder / f"part-{number}.parquet", row_group_size=group_rows)
        makers = (
            domain_maker(partial(load_domain, folder, rating_range=RANGE)),
            spark_maker(spark, folder, rating_range=RANGE),
        )
        local, distributed = (
            what_is_made(make, Path(name) / engine) for engine, make in zip(("local", "spark"), makers, strict=True)
        )
        assert distributed == local


def what_is_made(make: DomainMaker, folder: Path) -> tuple[dict[str, bytes], object] | str:
    """The files of a domain's tables and what is known of them, or the words of the refusal."""
    try:
        facts = make(folder)
    except InputError as error:
        return str(error)
    return files_of(folder), facts


def test_files_that_cannot_be_used_are_refused_as_locally_and_leave_nothing(
    spark: SparkSession, tmp_path: Path
) -> None:
    good = awkward_parts(tmp_path / "good", seed=1, rows=50, users=30, first_user=0)
    mixed = awkward_parts(tmp_path / "mixed", seed=1, rows=50, users=30, first_user=0)
    pl.DataFrame({"user_id": [1, 2], "item_id": ["a", "b"], "rating": [1.0, 2.0]}).write_parquet(
        mixed / "part-9.parquet"
    )
    out_of_range = tmp_path / "range.parquet"
    pl.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "y"], "rating": [8.0, 9.0]}).write_parquet(out_of_range)
    for path, said in ((mixed, "part-9.parquet differ: the user is text"), (out_of_range, "first bad row: 1")):
        told = []
        for make in (
            domain_maker(partial(load_domain, path, rating_range=RANGE)),
            spark_maker(spark, path, rating_range=RANGE),
        ):
            with pytest.raises(InputError, match=said) as raised:
                write_tables(
                    tmp_path / "out",
                    source=make,
                    target=domain_maker(partial(load_domain, good)),
                    division=DIVISION,
                    rating_range=RANGE,
                )
            told.append(str(raised.value))
        assert told[0] == told[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good", "mixed", "range.parquet"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Generated domains as tables."""
    folder = tmp_path_factory.mktemp("tables")
    source, target = pair_of_files(folder)
    split = load_preset("ranking").split
    return write_tables(
        folder / "tables",
        source=domain_maker(partial(load_domain, source)),
        target=domain_maker(partial(load_domain, target)),
        division=Division(seed=0, **split.by_user()),
        rating_range=RANGE,
    )


def test_lists_from_spark_are_as_good_as_local_ones(spark: SparkSession, tables: Tables) -> None:
    overrides = ["base.dim=32", "base.iterations=5", "base.refit=false"]
    local = ridge_figures(tables, preset="ranking", fit=None, overrides=overrides)
    theirs = ridge_figures(tables, preset="ranking", fit=partial(fit_on_spark, spark), overrides=overrides)
    print("NDCG@20", local.as_dict()["ndcg@20"], theirs.as_dict()["ndcg@20"])
    assert theirs.as_dict()["ndcg@20"] > local.as_dict()["ndcg@20"] - 0.01
    assert not list((tables.path / "base").rglob("*.scratch"))


def test_ratings_from_spark_are_as_good_as_local_ones(spark: SparkSession, tables: Tables) -> None:
    local = ridge_figures(tables, preset="robust", fit=None, overrides=[])
    theirs = ridge_figures(
        tables, preset="robust", fit=partial(fit_on_spark, spark), overrides=["base.weight_decay=0.15"]
    )
    print("RMSE", local.as_dict()["rmse_clipped"], theirs.as_dict()["rmse_clipped"])
    assert theirs.as_dict()["rmse_clipped"] < local.as_dict()["rmse_clipped"] + 0.03


def test_user_vectors_from_spark_are_what_a_fold_in_gives(spark: SparkSession, tables: Tables) -> None:
    config = load_preset("ranking", ["base.dim=32", "base.iterations=5", "base.refit=false"])
    list(fit_bases(tables, config, partial(fit_on_spark, spark), engine="spark"))
    base, target = StoredBases(tables, config)("target", 32), tables.pair.target
    vectors = base.item_vectors.double().numpy()
    held = set(tables.pair.overlap_target[np.concatenate([tables.split.test, tables.split.validation])].tolist())
    for user in (*sorted(held)[:3], 0, len(target.users) // 2, len(target.users) - 1):
        own = vectors[target.item_rows[target.user_rows == user]]
        wanted = np.linalg.solve(vectors.T @ vectors + 9.0 * own.T @ own + 0.05 * np.eye(32), 10.0 * own.sum(axis=0))
        np.testing.assert_allclose(
            base.user_vectors[user].numpy(), np.zeros(32) if user in held else wanted, rtol=1e-4, atol=1e-5
        )


def test_ratings_without_a_penalty_are_refused(spark: SparkSession, tables: Tables) -> None:
    with pytest.raises(InputError, match=r"base\.weight_decay"):
        list(fit_bases(tables, load_preset("reference"), partial(fit_on_spark, spark), engine="spark"))
    assert not list((tables.path / "base").glob(".*"))


USERS, ITEMS = 8_000, 60_000


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "bundle"
    write_drawn_bundle(path, users=USERS, items=ITEMS, dim=10, seen=3)
    return path


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.spark.score.BATCH_USERS", 500)


def test_an_executor_killed_in_the_middle_changes_nothing(spark: SparkSession, bundle: Path, tmp_path: Path) -> None:
    wanted = local_rows(bundle, tmp_path / "local.parquet")
    out, killed = tmp_path / "out", []

    def kill_one() -> None:
        until(lambda: list(out.glob("part-*.parquet")))
        victim = executor_pids(spark)[0]
        os.kill(victim, signal.SIGKILL)
        killed.append(len(list(out.glob("part-*.parquet"))))

    killer = threading.Thread(target=kill_one)
    killer.start()
    report = score(bundle, out)
    killer.join()
    assert killed and killed[0] < 8
    assert rows_of(out).equals(wanted)
    assert (report.users, report.rows, report.strategies) == (USERS, wanted.height, {"warm": USERS})
    assert {path.name for path in out.iterdir() if not path.name.startswith("part-")} == {"_SUCCESS"}


def test_users_from_a_file_opt_outs_and_a_second_start(spark: SparkSession, bundle: Path, tmp_path: Path) -> None:
    users = pl.Series("user_id", [f"u{row:07}" for row in range(0, USERS, 5)][::-1] + ["nobody", "ü"])
    asked = {"users": users, "options": ScoreOptions(k=3, layout="lists"), "opted_out": users[5:9]}
    log = ChangeLog()
    log.take({f"t{row:07}": ItemChange(available=False) for row in range(0, ITEMS, 2)})
    asked["state"] = LiveState(log.now, frozenset())
    wanted = local_rows(bundle, tmp_path / "local.parquet", **asked)
    out = tmp_path / "out"
    assert score(bundle, out, **asked).strategies == {"warm": len(users) - 6, "popular": 6}
    assert rows_of(out).equals(wanted)
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    (out / "part-000002.parquet").unlink()
    assert score(bundle, out, **asked, resume=True).parts_reused == len(before) - 1
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert {name for name in before if before[name] != after[name]} == {"part-000002.parquet"}
    assert rows_of(out).equals(wanted)
    with pytest.raises(InputError, match="other users, other options or another state"):
        score(bundle, out, users=users, resume=True)


def test_titles_are_those_of_the_local_run_and_lists_of_users_are_counted(spark: SparkSession, tmp_path: Path) -> None:
    bundle, out = tmp_path / "bundle", tmp_path / "out"
    write_bundle(bundle, console=True)
    users = pl.Series("user_id", ["u00003", "nobody", "u00001"])
    asked = {"users": users, "options": ScoreOptions(k=3, titles=True), "opted_out": pl.Series(["u00001"])}
    wanted = local_rows(bundle, tmp_path / "local.parquet", **asked)
    assert wanted["title"].str.len_chars().min() > 0
    told = io.StringIO()
    score(bundle, out, reporter=Reporter(Console(file=told, width=200)), **asked)
    assert rows_of(out).equals(wanted)
    assert "--users: 3 ids, 2 found in the bundle" in told.getvalue()
    assert "--opted-out: 1 ids, 1 found in the bundle" in told.getvalue()
    # Nobody found: the ids are of something else, and people who opted out would get personal lists.
    with pytest.raises(InputError, match="--opted-out: 1 ids, 0 found in the bundle; 1 id would match if upper"):
        score(bundle, tmp_path / "other", **{**asked, "opted_out": pl.Series(["U00001"])})
    write_bundle(tmp_path / "untitled", titles=False)
    with pytest.raises(InputError, match="no titles of target items"):
        score(tmp_path / "untitled", tmp_path / "other", **asked)
    assert not (tmp_path / "other").exists()


def test_bundle_and_lists_in_an_object_store(spark: SparkSession, bundle: Path, tmp_path: Path) -> None:
    users = pl.Series("user_id", [f"u{row:07}" for row in range(0, USERS, 4)])
    wanted = local_rows(bundle, tmp_path / "local.parquet", users=users)
    with object_store("lists") as (store, url):
        fs.copy_files(str(bundle), "lists/bundle", source_filesystem=fs.LocalFileSystem(), destination_filesystem=store)
        place, out = url.format("bundle"), url.format("deep/out")
        asked = ScoreRequest(users, ScoreOptions())
        assert score_on_spark(place, out, asked, device="cpu", reporter=SILENT).rows == wanted.height
        names = Storage.at(out).names()
        assert names == ["_SUCCESS", *(f"part-{number:06}.parquet" for number in range(4))]
        store.delete_file(f"lists/deep/out/{names[2]}")
        again = replace(asked, resume=True)
        assert score_on_spark(place, out, again, device="cpu", reporter=SILENT).parts_reused == 3
        parts = [pl.read_parquet(Storage.at(out).read(name)) for name in names[1:]]
        assert pl.concat(parts).equals(wanted)
        with pytest.raises(BundleError, match="is not a bundle"):
            score_on_spark(url.format("nothing"), out, asked, device="cpu", reporter=SILENT)
        with pytest.raises(InputError, match="cannot write s3://nowhere/"):
            score_on_spark(place, url.replace("lists", "nowhere").format("out"), asked, device="cpu", reporter=SILENT)


def test_what_cannot_be_read_or_written_is_told_before_work_starts(
    spark: SparkSession, bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("here already")
    for out, said in (
        (tmp_path / "file" / "out", "cannot write .*Not a directory"),
        (tmp_path, "holds files of something else"),
    ):
        with pytest.raises(InputError, match=said):
            score(bundle, out)
    with pytest.raises(BundleError, match="is not a bundle"):
        score(tmp_path / "nothing", tmp_path / "out")
    job = Job(
        bundle=Storage.at(str(bundle)),
        bundle_id="0" * 64,
        out=Storage.at(str(tmp_path / "out")),
        users=1,
        part_users=1,
        listed=False,
        options=ScoreOptions(),
        device="cpu",
        opted_out=None,
    )
    with pytest.raises(BundleError, match="executors find another bundle"):
        ask_executors(spark, partial(check_executor, job=job))
    with pytest.raises(BundleError, match="is not a bundle"):
        ask_executors(spark, partial(check_executor, job=replace(job, bundle=Storage.at(str(tmp_path / "gone")))))
    assert not (tmp_path / "out").exists()
