"""Training as a library: the same checks, errors and options as the command."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from diffcdr.bundle.reader import open_bundle
from diffcdr.errors import InputError
from tests.command import run
from tests.unit.training.tiny import QUICK, write_domains
from training import fit
from training.commands.train import train
from training.train import DataWarning


def test_two_onnx_runtimes_are_found_before_a_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise InputError("two of them")

    monkeypatch.setattr("training.train.check_one_onnx_runtime", refuse)
    with pytest.raises(InputError, match="two of them"):
        fit(tmp_path / "missing.csv", tmp_path / "missing.csv")


def unchanged(_: Path) -> None:
    """Nothing is wrong with the files."""


def few_shared(folder: Path) -> None:
    frame = pl.read_csv(folder / "films.csv")
    frame.filter(~pl.col("user_id").is_between(pl.lit("u049"), pl.lit("u059"))).write_csv(folder / "films.csv")


def one_file_twice(folder: Path) -> None:
    (folder / "books.csv").write_bytes((folder / "films.csv").read_bytes())


def one_rating(folder: Path) -> None:
    pl.read_csv(folder / "books.csv").with_columns(rating=4.0).write_csv(folder / "books.csv")


def another_scale(folder: Path) -> None:
    pl.read_csv(folder / "books.csv").with_columns(pl.col("rating") * 2).write_csv(folder / "books.csv")


def strange_titles(folder: Path) -> None:
    pl.DataFrame({"item_id": ["x"], "title": ["X"]}).write_csv(folder / "books_items.csv")


def latin_titles(folder: Path) -> None:
    (folder / "books_items.csv").write_bytes(b"item_id,title\nbooks-00,Caf\xe9 de Paris\n")


def known_items(folder: Path) -> Path:
    frame = pl.read_csv(folder / "books_items.csv").with_row_index("price")
    genre = pl.when(pl.col("price") % 2 == 0).then(pl.lit("small|even")).otherwise(pl.lit("odd"))
    frame.with_columns(genre=genre).write_csv(folder / "items.csv")
    return folder / "items.csv"


def nobody(folder: Path) -> None:
    (folder / "users.txt").write_text("nobody-1\nnobody-2\n")


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (few_shared, {}, "only 49 users occur in both"),
        (one_file_twice, {}, "--accept same-ratings"),
        (one_rating, {}, "--accept equal-ratings"),
        (another_scale, {}, "--accept out-of-range"),
        (strange_titles, {"target_titles": "books_items.csv"}, "--accept unmatched-titles"),
        (latin_titles, {"target_titles": "books_items.csv"}, "--encoding latin-1"),
        (unchanged, {"target_titles": "a.csv", "target_items": "b.csv"}, "leave out --target-titles"),
        (nobody, {"exclude_users": "users.txt"}, "2 ids, 0 found"),
        (unchanged, {"rating_range": (5.0, 1.0)}, "--rating-range '5.0,1.0' is not understood"),
        (unchanged, {"target_range": (1.0, float("inf"))}, "--target-range '1.0,inf' is not understood"),
        (unchanged, {"source_columns": "user=uid"}, "uid"),
        (unchanged, {"target_separator": ""}, "--target-separator"),
        (unchanged, {"encoding": "klingon"}, "--encoding"),
        (unchanged, {"accept": ["everything"]}, "--accept 'everything'"),
        (unchanged, {"test_fraction": 0.995}, "leave 0 for training"),
        (unchanged, {"tables": "tables"}, "--tables replaces"),
        (unchanged, {"resume": True}, "--resume needs --checkpoint"),
        (unchanged, {"grid_values": ["emcdr.lr"]}, "emcdr.lr"),
    ],
)
def test_what_the_command_refuses_the_call_refuses_in_the_same_words(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    options: dict[str, Any],
    said: str,
) -> None:
    write_domains(tmp_path)
    change(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refused:
        fit("films.csv", "books.csv", preset="reference", settings=QUICK, **options)
    assert said in str(refused.value)
    words: list[str] = [part for override in QUICK for part in ("--set", override)]
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words += [option]
        elif isinstance(value, list):
            words += [part for each in value for part in (option, each)]
        else:
            words += [option, ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
    command = ["train", "--source", "films.csv", "--target", "books.csv", "--bundle", "out", "--preset", "reference"]
    assert run(*command, *words) == InputError.exit_code
    assert [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")] == [
        f"error: {refused.value}"
    ]


def test_the_call_has_every_option_of_the_command() -> None:
    ours, theirs = (set(inspect.signature(each).parameters) for each in (fit, train))
    at_publishing = {"bundle", "held_out", "histories", "approximate_above", "recall_floor"}
    shown = {"tensorboard", "mlflow"}  # where figures are watched, a call has `watch`
    assert theirs - ours == at_publishing | shown
    assert ours - theirs == {"watch"}


def test_what_is_accepted_is_a_warning_and_who_is_left_out_is_in_no_table(tmp_path: Path) -> None:
    source, target = write_domains(tmp_path)
    one_rating(tmp_path)
    with pytest.warns(DataWarning, match="every rating is 4"):
        trained = fit(
            source,
            target,
            preset="reference",
            settings=QUICK,
            accept=["equal-ratings"],
            exclude_users=[" u000", "u001", "", "u001"],
            target_items=known_items(tmp_path),
        )
    pair = trained.prepared.pair
    for domain in (pair.source, pair.target):
        assert not {b"u000", b"u001"} & set(domain.users.array.tolist())
    assert pair.target.titles is not None and pair.target.titles[0] == "books-00 (title)"
    assert pair.source.report.dropped["excluded_user"] > 0
    trained.publish(tmp_path / "bundle")
    items = open_bundle(tmp_path / "bundle").target_items
    assert items.titles is not None and items.titles[0] == "books-00 (title)"
    assert items.attributes.of(0) == {"price": 0, "genre": ["even", "small"]}
    assert items.attributes.of(21) == {"price": 21, "genre": ["odd"]}
