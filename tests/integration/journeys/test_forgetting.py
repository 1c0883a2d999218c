"""Erased over HTTP -> ``diffcdr erasures`` -> ``diffcdr train --exclude-users``: nothing of the person is left."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from diffcdr.bundle.reader import open_bundle
from tests.command import run
from tests.integration.journeys.training_run import train
from tests.serving import serving
from tests.unit.training.tiny import write_domains

ERASED = ("u003", "u065", "u074")
"""Known in both domains, in films alone, and in books alone."""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write_domains(tmp_path)


def rows_of(file: Path, users: tuple[str, ...]) -> int:
    return pl.read_csv(file).filter(pl.col("user_id").is_in(users)).height


def holding(bundle: Path, user: str) -> list[str]:
    """Files of the bundle with the id in them."""
    return [path.name for path in bundle.rglob("*") if path.is_file() and user.encode() in path.read_bytes()]


def test_an_erased_user_is_in_no_byte_of_the_next_bundle(
    files: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second, listed = tmp_path / "first", tmp_path / "second", tmp_path / "erased"
    state = f"sqlite:{tmp_path / 'state.sqlite'}"
    assert train(files, first) == 0
    assert all(holding(first, user) for user in ERASED)

    with serving(first, state_url=state) as client:
        for user in ERASED:
            assert client.delete(f"/v1/users/{user}").status_code == 202
    assert run("erasures", "--state", state, "--out", listed) == 0

    capfd.readouterr()
    assert train(files, second, "--exclude-users", listed) == 0
    screen = capfd.readouterr().err
    assert [holding(second, user) for user in ERASED] == [[], [], []]
    assert "excluded_user" in screen and "3 ids, 3 found in the ratings and left out" in screen
    inputs = open_bundle(second).manifest.provenance.model_dump()
    for name, file in zip(("source", "target"), files, strict=True):
        assert inputs[name]["cleaning"] == {"excluded_user": rows_of(file, ERASED)}
    assert run("inspect", second, "--json") == 0
    assert json.loads(capfd.readouterr().out)["manifest"]["counts"]["source_users"] == 68


def test_a_list_that_cannot_be_read_is_one_sentence_and_trains_nothing(
    files: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train(files, tmp_path / "bundle", "--exclude-users", tmp_path / "nowhere.txt") == 2
    said = capfd.readouterr().err
    assert "cannot read users from" in said and "nowhere.txt" in said
    assert "Traceback" not in said
    assert not (tmp_path / "bundle").exists()
