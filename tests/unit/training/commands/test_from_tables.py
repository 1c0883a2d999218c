"""``prepare`` and ``base`` once, ``train`` from them: the bundle is the one that training from files publishes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.command import run
from tests.unit.training.tiny import write_domains
from training.data.tables import open_tables

QUICK = ("--set", "base.dim=[4,3]", "--set", "base.iterations=2", "--seed", "2")


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.npy")}


@pytest.fixture
def files(tmp_path: Path) -> tuple[object, ...]:
    source, target = write_domains(tmp_path)
    return ("--source", source, "--target", target)


def test_training_from_tables_is_training_from_files(tmp_path: Path, files: tuple[object, ...]) -> None:
    titles = ("--target-titles", tmp_path / "books_items.csv")
    assert run("prepare", *files, "--out", tmp_path / "tables", *QUICK) == 0
    assert run("train", *files, *titles, "--bundle", tmp_path / "from-files", *QUICK) == 0
    assert run("train", "--tables", tmp_path / "tables", *titles, "--bundle", tmp_path / "from-tables", *QUICK) == 0
    assert run("base", "--tables", tmp_path / "tables", *QUICK[:4]) == 0
    assert run("train", "--tables", tmp_path / "tables", *titles, "--bundle", tmp_path / "from-base", *QUICK) == 0
    wanted = files_of(tmp_path / "from-files")
    assert files_of(tmp_path / "from-tables") == wanted
    assert files_of(tmp_path / "from-base") == wanted


def test_base_models_that_are_there_are_kept(
    tmp_path: Path, files: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    tables = tmp_path / "tables"
    assert run("prepare", *files, "--out", tables, *QUICK) == 0
    assert run("base", "--tables", tables, *QUICK[:4]) == 0
    capsys.readouterr()
    assert run("base", "--tables", tables, *QUICK[:4]) == 0
    told = capsys.readouterr().err
    assert told.count("there already") == 6 and "fitted" not in told
    held = open_tables(tables)
    vectors = np.load(tables / "base" / "target-4" / "user_vectors.npy")
    rows = held.pair.overlap_target[held.split.test]
    assert not vectors[rows].any() and vectors.any(axis=1).sum() == len(vectors) - len(rows) - len(
        held.split.validation
    )


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--seed", "3"), "was split with seed 2, and this run asks for 3"),
        (("--seed", "2", "--test-fraction", "0.3"), "was split with test_fraction 0.2, and this run asks for 0.3"),
        (("--seed", "2", "--exclude-users", "x.txt"), "give those to diffcdr prepare"),
        (("--seed", "2"), "lacks base models for these settings (source-32, target-32"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    tmp_path: Path, files: tuple[object, ...], capsys: pytest.CaptureFixture[str], args: tuple[str, ...], said: str
) -> None:
    assert run("prepare", *files, "--out", tmp_path / "tables", *QUICK) == 0
    assert run("base", "--tables", tmp_path / "tables", *QUICK[:4]) == 0
    capsys.readouterr()
    assert run("train", "--tables", tmp_path / "tables", "--bundle", tmp_path / "bundle", *args) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


def test_no_input_and_no_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--bundle", tmp_path / "bundle") == 2
    assert "give two rating files" in capsys.readouterr().err
    assert run("base", "--tables", tmp_path) == 2
    assert "holds no prepared tables" in capsys.readouterr().err
