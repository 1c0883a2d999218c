"""``make provider-check``: ONNX Runtime's CUDA provider finds all it needs in what pip brings, but for the driver.

Installs ``onnxruntime-gpu`` as the extra ``serve-gpu`` asks for it, with NVIDIA's libraries (2.5 GB), into an
environment of its own that is removed, and loads the provider as the service does. Needs no GPU.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

from diffcdr.device.driver import LIBRARY

ROOT = Path(__file__).resolve().parents[2]
LOAD = """
import sys
sys.path.insert(0, sys.argv[1])
from diffcdr.device.placement import load_provider, onnx_runtime
print(load_provider(onnx_runtime()) or "nothing")
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the check; 0 where nothing but the driver is missing."""
    parser = argparse.ArgumentParser(description="Load ONNX Runtime's CUDA provider with what pip brings.")
    parser.add_argument("--environment", type=Path, help="one that has it installed; made and removed otherwise")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="provider-check-") as folder:
        environment = asked.environment or install(Path(folder))
        missing = subprocess.run(
            [environment / "bin" / "python", "-c", LOAD, ROOT], capture_output=True, text=True, check=True
        ).stdout.strip()
    print(f"missing: {missing}")
    return 0 if missing == "nothing" or f"({LIBRARY}:" in missing else 1


def install(folder: Path) -> Path:
    """An environment with the provider and its libraries, as ``serve-gpu`` names them."""
    venv.create(folder, with_pip=True)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = [text for text in extras["serve-gpu"] if text.startswith("onnxruntime-gpu")]
    pip = [str(folder / "bin" / "python"), *["-m", "pip", "install", "-q", "-c"], str(ROOT / "constraints.txt")]
    subprocess.run([*pip, *wanted], check=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())
