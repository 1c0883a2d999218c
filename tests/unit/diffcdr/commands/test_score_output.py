"""What ``diffcdr score`` writes, by the ending of the name; users from a pipe; ids of somebody else."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl
import pytest

from diffcdr.bundle.reader import open_bundle
from tests.bundles import write_bundle
from tests.command import run

READERS = {"parquet": pl.read_parquet, "jsonl": pl.read_ndjson, "csv": pl.read_csv}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


def score(bundle: Path, out: Path, *more: str) -> int:
    return run("score", "--bundle", bundle, "--users", "all", "--out", out, "--k", "3", *more)


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl", "CSV"])
@pytest.mark.parametrize("titles", [False, True])
def test_every_format_holds_the_same_rows(bundle: Path, tmp_path: Path, ending: str, titles: bool) -> None:
    more = ["--titles"] if titles else []
    assert score(bundle, tmp_path / "plain.parquet", *more) == 0
    assert score(bundle, tmp_path / f"out.{ending}", *more) == 0
    expected = pl.read_parquet(tmp_path / "plain.parquet").with_columns(pl.col("strategy").cast(pl.String))
    found = READERS[ending.lower()](tmp_path / f"out.{ending}").with_columns(pl.col("strategy").cast(pl.String))
    assert found.columns == expected.columns
    assert found.drop("rank", "score").equals(expected.drop("rank", "score"))
    assert found["score"].cast(pl.Float32).equals(expected["score"].cast(pl.Float32))
    if titles:
        table = open_bundle(bundle).target_items
        assert table.titles is not None
        known = {table.ids.array[row].decode(): table.titles[row] for row in range(len(table.ids))}
        assert found["title"].to_list() == [known[item] for item in found["item_id"]]


def test_lists_have_lists_of_titles(bundle: Path, tmp_path: Path) -> None:
    assert score(bundle, tmp_path / "long.parquet", "--titles") == 0
    assert score(bundle, tmp_path / "lists.jsonl", "--titles", "--lists") == 0
    long = pl.read_parquet(tmp_path / "long.parquet").group_by("user_id", maintain_order=True).agg("title")
    assert pl.read_ndjson(tmp_path / "lists.jsonl")["titles"].to_list() == long["title"].to_list()


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("out.txt", [], "use .parquet, .csv or .jsonl"),
        ("out", [], "use .parquet, .csv or .jsonl"),
        ("out.csv", ["--lists"], "CSV cannot hold lists"),
    ],
)
def test_other_endings_are_refused_and_nothing_is_written(
    bundle: Path, tmp_path: Path, name: str, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(tmp_path.iterdir())
    assert score(bundle, tmp_path / name, *more) == 2
    assert message in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == before


def test_titles_of_a_bundle_without_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(tmp_path / "bundle", titles=False)
    assert score(tmp_path / "bundle", tmp_path / "out.csv", "--titles") == 2
    assert "--target-titles" in capsys.readouterr().err


def test_users_come_through_a_pipe_and_strangers_are_called_out(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def piped(text: str) -> tuple[list[str], str]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        assert run("score", "--bundle", bundle, "--users", "-", "--out", tmp_path / "out.csv", "--k", "1") == 0
        return pl.read_csv(tmp_path / "out.csv")["user_id"].to_list(), capsys.readouterr().err

    users, said = piped("u00001\nu00000\nelse\n")
    assert users == ["u00001", "u00000", "else"]
    assert "does not know" not in said
    _, said = piped("".join(f"else{number}\n" for number in range(19)) + "u00001\n")
    assert "does not know 19 of 20 users" in said
