"""Run the notebooks of ``examples/`` and keep their pictures, so that they are seen where nothing runs.

python -m scripts.notebook
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def execute(path: Path, *, folder: Path) -> Any:
    """The notebook of ``path`` with what its cells show, run in ``folder``.

    Raises:
        CellExecutionError: a cell ended with an error.
    """
    notebook = nbformat.read(path, as_version=4)
    # Sockets in a folder, not ports that others on the machine can reach; no times, which would differ with every run.
    settings = Config({"KernelManager": {"transport": "ipc"}})
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, config=settings, timeout=240, record_timing=False, resources=where).execute()
    return notebook


def main() -> None:
    """Run and write every notebook."""
    for path in sorted(EXAMPLES.glob("*.ipynb")):
        nbformat.write(execute(path, folder=EXAMPLES.parent), path)
        print(f"wrote {path.relative_to(EXAMPLES.parent)}")


if __name__ == "__main__":
    main()
