"""The notebook of ``examples/`` runs, shows its pictures, and is committed as it runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.servers import ENVIRONMENT

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "films_to_books.ipynb"
RUN = "import sys, pathlib, nbformat; from scripts.notebook import execute; here = pathlib.Path(sys.argv[2]); \
nbformat.write(execute(pathlib.Path(sys.argv[1]), folder=here), here / 'ran.ipynb')"


def shown(notebook: dict[str, Any]) -> list[list[str]]:
    """What each code cell shows, by kind."""
    return [
        [output.get("name") or "+".join(sorted(output["data"])) for output in cell["outputs"]]
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]


def test_it_runs_and_shows_what_is_committed(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), **ENVIRONMENT}
    command = [sys.executable, "-c", RUN, str(NOTEBOOK), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ran, committed = json.loads((tmp_path / "ran.ipynb").read_text()), json.loads(NOTEBOOK.read_text())
    assert shown(ran) == shown(committed), "run: python -m scripts.notebook"
    kinds = [kind for cell in shown(ran) for kind in cell]
    assert sum("image/svg+xml" in kind for kind in kinds) == 3
    assert "stderr" not in kinds
    assert str(ROOT) not in NOTEBOOK.read_text()
