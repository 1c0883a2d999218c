"""Erased over HTTP -> ``diffcdr erasures`` -> ``diffcdr train --exclude-users``: nothing of the person is left."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import polars as pl
import pytest

from diffcdr.bundle import open_bundle
from tests.servers import diffcdr, running_server
from tests.unit.training.tiny import QUICK, write_domains

ERASED = ("u003", "u065", "u074")
"""Known in both domains, in films alone, and in books alone."""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write_domains(tmp_path)


def train(files: tuple[Path, Path], bundle: Path, *options: str | Path, check: bool = True) -> tuple[int, str]:
    sets = [part for override in QUICK for part in ("--set", override)]
    arguments = ["--source", files[0], "--target", files[1], "--bundle", bundle, "--preset", "reference", *sets]
    done = diffcdr("train", *arguments, *options, check=check)
    return done.returncode, done.stderr


def rows_of(file: Path, users: tuple[str, ...]) -> int:
    return pl.read_csv(file).filter(pl.col("user_id").is_in(users)).height


def holding(bundle: Path, user: str) -> list[str]:
    """Files of the bundle with the id in them."""
    return [path.name for path in bundle.rglob("*") if path.is_file() and user.encode() in path.read_bytes()]


def test_an_erased_user_is_in_no_byte_of_the_next_bundle(files: tuple[Path, Path], tmp_path: Path) -> None:
    first, second, listed = tmp_path / "first", tmp_path / "second", tmp_path / "erased"
    state = f"sqlite:{tmp_path / 'state.sqlite'}"
    train(files, first)
    assert all(holding(first, user) for user in ERASED)

    with running_server(first, log=tmp_path / "log", DIFFCDR_STATE_URL=state) as server:
        for user in ERASED:
            assert httpx.delete(f"{server.address}/v1/users/{user}").status_code == 202
    diffcdr("erasures", "--state", state, "--out", listed)

    _, screen = train(files, second, "--exclude-users", listed)
    assert [holding(second, user) for user in ERASED] == [[], [], []]
    assert "excluded_user" in screen and "names 3 users to leave out" in screen
    inputs = open_bundle(second).manifest.provenance.model_dump()
    for name, file in zip(("source", "target"), files, strict=True):
        assert inputs[name]["cleaning"] == {"excluded_user": rows_of(file, ERASED)}
    shown = json.loads(diffcdr("inspect", second, "--json").stdout)
    assert shown["manifest"]["counts"]["source_users"] == 68


def test_a_list_that_cannot_be_read_is_one_sentence_and_trains_nothing(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    status, said = train(files, tmp_path / "bundle", "--exclude-users", tmp_path / "nowhere.txt", check=False)
    assert status != 0
    assert "cannot read users from" in said and "nowhere.txt" in said
    assert "Traceback" not in said
    assert not (tmp_path / "bundle").exists()
