"""What the tests of Spark share: awkward files, and the same work here and there."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from rich.console import Console

from diffcdr.bundle.reader import open_bundle
from diffcdr.progress import Reporter
from diffcdr.recommend.list_table import ScoreOptions
from diffcdr.recommend.recommender import Recommender
from diffcdr.score import ScoreReport, ScoreRequest, all_users, score_users
from training.config import load_preset
from training.data.synth import SynthSpec, generate
from training.data.synth_files import Format, write
from training.data.tables import Tables
from training.evaluation.evaluate import Metrics
from training.run.base_store import FitBase, StoredBases, fit_bases
from training.run.fit import evaluate_test, fit_model
from training.run.prepare import prepare
from training.run.run import Run
from training.spark.score import score_on_spark

RANGE = (1.0, 5.0)


def awkward_parts(folder: Path, *, seed: int, rows: int, users: int, first_user: int) -> Path:
    """Three Parquet parts: duplicates within and across, ties in time, bad rows, one user with half of the rows."""
    random = np.random.default_rng(seed)
    folder.mkdir()
    for part in range(3):
        who = random.integers(0, users, rows) + first_user
        who[random.random(rows) < 0.5] = 7 + first_user
        frame = pl.DataFrame(
            {
                "user_id": [f"ü{user:03}" for user in who],
                "item_id": [f"item {item}" for item in random.integers(0, 40, rows)],
                # Sums of these depend on their order, to the last bit.
                "rating": np.round(random.random(rows) * 6, 3),
                "timestamp": pl.Series(random.integers(0, 3, rows)).replace(0, None),
            }
        )
        if part == 1:
            bad = pl.DataFrame({"user_id": [None, "", "a\0b"], "item_id": ["x", "y", "z"], "rating": [1.0, 2.0, 3.0]})
            frame = pl.concat([bad, frame], how="diagonal")
        # Small row groups, so that a part is read in slices.
        frame.write_parquet(folder / f"part-{part}.parquet", row_group_size=97)
    return folder


RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": st.sampled_from(["a", "b", "ü", "z" * 40, "", "a\0b", None]),
            "item_id": st.sampled_from(["i", "ii", "日本", "", None]),
            # Among them what is missing, out of range or no number, and sums that depend on their order.
            "rating": st.sampled_from([0.1, 1.0, 1.1, 3.3, 4.7, 5.0, 6.0, float("nan"), None]),
            "timestamp": st.sampled_from([0, 1, 2**40, None]),
        }
    ),
    max_size=30,
)
TYPES = {"user_id": pl.String, "item_id": pl.String, "rating": pl.Float64, "timestamp": pl.Int64}


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pair_of_files(folder: Path) -> tuple[Path, Path]:
    """Generated films and books."""
    written = dict(write(generate(SynthSpec(users=3000, items=500)), folder, file_format=Format.parquet))
    paths = {path.stem: path for path in written}
    return paths["films"], paths["books"]


def ridge_figures(tables: Tables, *, preset: str, fit: FitBase | None, overrides: list[str]) -> Metrics:
    """Test figures of the ridge map on base models by ``fit``, or by the local way."""
    config = load_preset(preset, overrides)
    run = Run(config=config, seed=0, rating_range=RANGE)
    if fit is not None:
        list(fit_bases(tables, config, fit, engine="spark"))
        run = replace(run, bases=StoredBases(tables, config))
    torch.set_num_threads(1)
    prepared = prepare(tables.pair, run)
    return evaluate_test(fit_model("ridge", prepared, run), prepared)


SILENT = Reporter(Console(file=io.StringIO()))


def score(bundle: Path, out: Path, **asked: Any) -> ScoreReport:
    reporter = asked.pop("reporter", SILENT)
    request = ScoreRequest(asked.pop("users", None), asked.pop("options", ScoreOptions()), **asked)
    return score_on_spark(str(bundle), str(out), request, device="cpu", reporter=reporter)


def local_rows(bundle: Path, out: Path, **asked: Any) -> pl.DataFrame:
    recommender = Recommender(open_bundle(bundle), device="cpu")
    users = asked.pop("users", None)
    options = asked.pop("options", ScoreOptions())
    score_users(
        recommender, all_users(recommender) if users is None else users, out, options=options, reporter=SILENT, **asked
    )
    return pl.read_parquet(out)


def rows_of(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted(folder.glob("part-*.parquet"))])


def executor_pids(session: SparkSession) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"CoarseGrainedExecutorBackend" in words and session.sparkContext.applicationId.encode() in words:
            found.append(int(process.name))
    return found
