"""One answer on every processor that this machine can stand in for: a process for each, compared by digest."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffcdr.recommend.fold_in import SOLVED_TOLERANCE
from diffcdr.search.build_index import build_index
from tests.bundles import write_bundle
from tests.processor_answers import indexed_items
from tests.processors import Kind, kinds

ROOT = Path(__file__).parents[3]
KINDS = kinds()
PINNED = {
    "lists": "cd2716dc149c8fd6 819e035fad66d603 42d4dcc629491b3e 7e2a370163730364",
    "transferred": "f1a1e56460a05f5e df860d7212efc8b9 9a6c6816a4bcc940 a3eb8cd1f66f4988",
    "diverse": "f11179530235bda4 61a295338e41bb1d 788c85d00c6e65bb 9984d9c8d2baab58",
}
"""Of what is drawn from a hash alone: any machine has to give these answers, whatever its make."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("processors")
    write_bundle(made / "rating")
    write_bundle(made / "ranking", objective="ranking", fold_in="als", warm="als")
    vectors, biases, users = indexed_items()
    content, spec = build_index(vectors, biases, users, offset=0.0, floor=0.5)
    np.save(made / "index.npy", content)
    (made / "index.json").write_text(spec.model_dump_json())
    return made


def ask(kind: Kind, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-W", "error", "-m", "tests.processor_answers", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=kind.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


@pytest.fixture(scope="module")
def here(folder: Path) -> dict[str, Any]:
    return ask(KINDS[0], folder)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_same_lists_to_the_last_bit(kind: Kind, folder: Path, here: dict[str, Any]) -> None:
    found = here if kind is KINDS[0] else ask(kind, folder)
    # The variable did what it says, where NumPy has OpenBLAS at all.
    assert kind.architectures is None or not found["blas"] or set(found["blas"]) <= kind.architectures
    assert [name for name, each in found["cases"].items() if each != here["cases"][name]] == []
    assert found["differ with numba"] == []
    assert found["numba"] is (find_spec("numba") is not None)
    assert {name: found[name] for name in PINNED} == PINNED
    assert (found["approximate"], found["served"]) == (here["approximate"], here["served"])
    for vector, other in zip(here["solved"], found["solved"], strict=True):
        assert math.dist(vector, other) <= SOLVED_TOLERANCE * math.hypot(*vector)


def test_every_kind_of_this_machine_is_among_them() -> None:
    names = {kind.name for kind in KINDS}
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    assert ("SkylakeX" in names) is ("avx512vl" in flags and "avx512dq" in flags)
    assert ("Haswell" in names) is ("avx2" in flags)
