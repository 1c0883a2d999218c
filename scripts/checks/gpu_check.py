"""``make gpu-check``: the tests marked ``gpu``, then the benches on the GPU, then a table of what was measured.

For a machine with an NVIDIA driver and a Python that has a CUDA build of torch, Triton and NumPy. With ``--wheels``
everything else comes from that folder, without a network, into an environment of its own that also sees this Python's
packages. ``--out FILE`` writes the table as Markdown, to be committed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".gpu-venv"
TESTS = ["-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", "-m", "gpu", "-o", "addopts=", "tests/gpu"]
"""Fixtures of the other tests want a browser and a Redis, which a GPU machine need not have."""


def main() -> int:
    """Run what was asked for; the exit status of the tests, or of the first bench that failed."""
    parser = argparse.ArgumentParser(prog="make gpu-check", description=__doc__)
    parser.add_argument("--wheels", type=Path, help="folder of wheels that this Python lacks")
    parser.add_argument("--out", type=Path, default=ROOT / "gpu-figures.md", help="Markdown table to write")
    parser.add_argument("--size", choices=("full", "short"), default="full")
    parser.add_argument("--benches", default="serving,transfer,topk,train", help="which; empty for none")
    asked = parser.parse_args()
    python = Path(sys.executable) if asked.wheels is None else make_environment(asked.wheels)
    tests = subprocess.run([python, *TESTS], cwd=ROOT, check=False).returncode
    rows: list[dict[str, object]] = []
    status = tests
    for name in filter(None, asked.benches.split(",")):
        found, failed = run_bench(python, name, size=asked.size)
        rows += found
        status = status or failed
        # Written after each, so that what was measured survives what comes after.
        asked.out.write_text(as_table(python, rows, tests=tests))
    print(asked.out.read_text() if rows else f"tests ended with status {tests}")
    return status


def make_environment(wheels: Path) -> Path:
    """An environment with the ``wheels``, this project, and sight of this Python's packages; its Python."""
    venv.create(ENVIRONMENT, with_pip=False, clear=True)
    python = ENVIRONMENT / "bin" / "python"
    site = next((ENVIRONMENT / "lib").glob("python*")) / "site-packages"
    (site / "outer.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-index", "--no-deps"]
    subprocess.run([*pip, *map(str, sorted(wheels.glob("*.whl")))], check=True)
    subprocess.run([*pip, "--no-build-isolation", "--editable", str(ROOT)], check=True)
    return python


def run_bench(python: Path, name: str, *, size: str) -> tuple[list[dict[str, object]], int]:
    """The rows of one bench, and its exit status."""
    program = "import sys; from diffcdr.cli import main; main(sys.argv[1:])"
    command = [str(python), "-c", program, "bench", name, "--device", "cuda", "--json"]
    command += ["--short"] if size == "short" else []
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    print(f"bench {name}: status {done.returncode} after {time.monotonic() - started:.0f} s", flush=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")], done.returncode


def as_table(python: Path, rows: list[dict[str, object]], *, tests: int) -> str:
    """The rows as Markdown, under what they were measured on."""
    machine = f"{_gpu()}, {os.cpu_count()} processor cores, Python {platform.python_version()}"
    passed = "passed" if tests == 0 else "FAILED"
    lines = [
        f"Measured by `make gpu-check` on {machine}, {_versions(python)}; tests on the GPU {passed}.",
        "",
        "| row | ours | compared with | unit | ratio |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (f"{row['bench']}: {row['case']}", row["ours"], row["baseline"], row["unit"], row["ratio"])
        lines.append(f"| {' | '.join(f'{cell:,.4g}' if isinstance(cell, float) else str(cell) for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _gpu() -> str:
    if shutil.which("nvidia-smi") is None:
        return "an unknown GPU"
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return f"{done.stdout.splitlines()[0]} (name, driver, memory)" if done.returncode == 0 else "an unknown GPU"


def _versions(python: Path) -> str:
    program = "import onnxruntime, torch; print(f'onnxruntime {onnxruntime.__version__}, torch {torch.__version__}')"
    return subprocess.run([python, "-c", program], capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
