"""Data on which nothing can be learnt or told apart is refused before any training, by every command that trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from diffcdr.errors import InputError
from tests.command import run
from tests.unit.training.tiny import N_SHARED, QUICK, load, quick_config, write_domains
from training.data.domains import DomainPair
from training.run.data_checks import MIN_OVERLAP, check_data

SETTINGS = [part for override in QUICK for part in ("--set", override)]


def few_shared(source: pl.DataFrame, target: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    return source.filter(~pl.col("user_id").is_between(pl.lit("u049"), pl.lit("u059"))), target


def one_item(source: pl.DataFrame, target: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    return source, target.filter(pl.col("item_id") == "books-00")


def no_favourites(source: pl.DataFrame, target: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    return source.with_columns(pl.col("rating").clip(1.0, 3.0)), target


def unchanged(source: pl.DataFrame, target: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    return source, target


Change = Callable[[pl.DataFrame, pl.DataFrame], tuple[pl.DataFrame, pl.DataFrame]]


@pytest.mark.parametrize("subcommand", ["train", "experiment"])
@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (few_shared, {}, "only 49 users occur in both films.csv and books.csv"),
        (one_item, {}, "books.csv has ratings of 1 item only"),
        (no_favourites, {}, "above 3, so ptupcdr has no history to learn from; lower it with --set ptupcdr.threshold"),
        (unchanged, {"beta": "0.995"}, "leave 0 for training"),
        (unchanged, {"beta": "0.9", "set": "split.validation_fraction=0.05"}, "0 for validation"),
    ],
)
def test_the_number_and_the_remedy_are_named_before_any_training(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    subcommand: str,
    change: Change,
    options: dict[str, str],
    message: str,
) -> None:
    paths = write_domains(tmp_path)
    for path, frame in zip(paths, change(*map(pl.read_csv, paths)), strict=True):
        frame.write_csv(path)
    beta = options.get("beta", "0.2")
    own = {
        "train": ["--bundle", tmp_path / "out", "--test-fraction", beta, "--preset", "reference", "--model", "ptupcdr"],
        "experiment": [
            "--out",
            tmp_path / "out",
            "--test-fractions",
            beta,
            "--preset",
            "reference",
            "--models",
            "ptupcdr",
            "--seeds",
            "2",
        ],
    }[subcommand]
    more = ["--set", options["set"]] if "set" in options else []
    assert run(subcommand, "--source", paths[0], "--target", paths[1], *own, *SETTINGS, *more) == InputError.exit_code
    screen = capfd.readouterr().err
    (error,) = (line for line in screen.splitlines() if line.startswith("error: "))
    assert message in error
    assert "base model" not in screen
    assert "experiment:" not in screen
    assert not (tmp_path / "out" / "results.jsonl").exists()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> DomainPair:
    return load(tmp_path_factory.mktemp("domains"))


def test_users_without_a_history_are_counted_where_a_model_needs_one(pair: DomainPair) -> None:
    config = quick_config("ptupcdr.threshold=4.5")
    users = {user for user, rating in zip(pair.source.user_rows.tolist(), pair.source.ratings.tolist(), strict=True)
             if rating > 4.5}  # fmt: skip
    without = sum(user not in users for user in pair.overlap_source.tolist())
    assert 0 < without < N_SHARED
    (warning,) = check_data(pair, config, models=["ptupcdr"], test_fractions=[0.2], seeds=[0])
    assert warning.startswith(f"{without} of {N_SHARED} shared users have rated nothing above 4.5 in films.csv")
    assert check_data(pair, config, models=["emcdr"], test_fractions=[0.2], seeds=[0]) == []


def test_enough_is_enough(pair: DomainPair) -> None:
    just = replace(
        pair, overlap_source=pair.overlap_source[:MIN_OVERLAP], overlap_target=pair.overlap_target[:MIN_OVERLAP]
    )
    assert check_data(just, quick_config(), models=["bias"], test_fractions=[0.2, 0.5, 0.8], seeds=[0]) == []
