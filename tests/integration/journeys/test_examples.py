"""Every script of ``examples/`` runs, on small generated files and a small bundle, and says what it promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bundles import write_bundle
from tests.servers import ENVIRONMENT, diffcdr
from tests.serving import serving

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
KNOWN = "u00049"
COVERED = {"own_files.py", "without_a_server.py", "ask_the_service.py", "compare_models.py", "add_a_model.py"}


def run(name: str, *arguments: str | Path) -> str:
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(EXAMPLES.parent)}
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("ratings")
    diffcdr("synth", "--out", folder, "--users", "200", "--items", "60", "--ratings-per-user", "12")
    return folder / "films.parquet", folder / "books.parquet"


def test_every_example_is_run_here_and_in_the_list() -> None:
    scripts = {path.name for path in EXAMPLES.glob("*.py")}
    text = (EXAMPLES / "README.md").read_text("utf-8")
    assert scripts == COVERED
    assert all(f"({name})" in text for name in scripts)


def test_own_files_and_then_the_bundle_without_a_server(files: tuple[Path, Path], tmp_path: Path) -> None:
    said = run("own_files.py", *files, tmp_path / "bundle")
    assert "diffcdr    NDCG@20" in said and "published" in said
    user = said.splitlines()[-1].split()[0]
    alone = run("without_a_server.py", tmp_path / "bundle", user, "nobody")
    assert "popular" in alone
    assert "vectors (2, " in alone


def test_models_are_compared_best_first(files: tuple[Path, Path]) -> None:
    said = run("compare_models.py", *files).splitlines()
    figures = [float(line.split("NDCG@20")[1].split()[0]) for line in said if "NDCG@20" in line]
    assert figures == sorted(figures, reverse=True)
    assert len(figures) == 5
    assert said[-1].startswith("validation users prefer ")


def test_a_model_of_ones_own(files: tuple[Path, Path]) -> None:
    assert run("add_a_model.py", *files).startswith("centroid NDCG@20 0.")


def test_the_service_is_asked(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle")
    with serving(tmp_path / "bundle") as client:
        said = run("ask_the_service.py", str(client.base_url), KNOWN, "nobody")
    assert f"{KNOWN} transfer" in said
    assert said.count("index=") == 2
