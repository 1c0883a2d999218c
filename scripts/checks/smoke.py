"""What an installed ``diffcdr`` has to be able to do, by the extras it was installed with; used by ``installs.py``."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 120.0
MISSING_EXTRA = 5
RATINGS = ("--source", "ratings/films.parquet", "--target", "ratings/books.parquet")
ONNX_RUNTIMES = {"serve": "onnxruntime", "serve-gpu": "onnxruntime-gpu"}
"""Extras and the distribution of ONNX Runtime that each brings."""
IMPORTS = {
    "ann": "import faiss",
    "audit": "import detect_secrets, pip_audit",
    "client": "import diffcdr.client",
    "fast": "import numba",
    "mlflow": "import mlflow",
    "otel": "import opentelemetry.sdk.trace, opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "release": "import build, twine",
    "serve": "import service.app",
    "serve-gpu": "import service.app",
    "spark": "import pandas, pyarrow, pyspark",
    "train": "import training.commands.train",
}
"""What an extra is for, imported."""
HELP_OF_ALL = """
import contextlib, io, json
from importlib.metadata import entry_points
from diffcdr.cli import COMMAND_GROUP, OWN_COMMANDS, main
found = {}
extras = {entry.name: entry.extras[0] for entry in entry_points(group=COMMAND_GROUP)}
for name in [*OWN_COMMANDS, *extras]:
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            main([name, "--help"])
        except SystemExit as stop:
            found[name] = extras.get(name), stop.code or 0, output.getvalue()
print(json.dumps(found))
"""


class SmokeFailed(Exception):
    """One sentence, and the last words of what failed."""


@dataclass(frozen=True)
class Place:
    """An environment, the extras it was installed with, and a folder to work in."""

    python: Path
    extras: frozenset[str]
    folder: Path

    def diffcdr(self, *arguments: str, status: int = 0) -> str:
        """What ``diffcdr arguments`` prints. Raises SmokeFailed where it ends with another ``status``."""
        return self.run(str(self.python.with_name("diffcdr")), *arguments, status=status)

    def run(self, *command: str, status: int = 0) -> str:
        """What ``command`` prints, on standard output and error together."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != status or "Traceback" in done.stdout:
            shown = " ".join([Path(command[0]).name, *command[1:]])[:200]
            raise SmokeFailed(f"{shown} ended with status {done.returncode}, not {status}:\n{done.stdout[-2000:]}")
        return done.stdout

    @property
    def onnx_runtime(self) -> str | None:
        """The distribution of ONNX Runtime that the extras bring."""
        return next((name for extra, name in ONNX_RUNTIMES.items() if extra in self.extras), None)


def environment() -> dict[str, str]:
    """This process's variables, less those that would let Python find packages elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def smoke(place: Place, bundles: Path) -> list[str]:
    """Try everything that the extras allow; returns the names of what was tried.

    ``bundles``: the folder ``bundles`` of a place that could train, for where this one cannot. What needs them is not
    tried where there are none.
    """
    trains = "train" in place.extras
    if not trains and bundles.exists():
        shutil.copytree(bundles, place.folder / "bundles")
    there = trains or bundles.exists()
    checks: dict[str, tuple[bool, Callable[[Place], None]]] = {
        "imports": (True, imports),
        "help of every command": (True, help_of_all),
        "train": (trains, train),
        "score": (there, score),
        "index": (there and "ann" in place.extras, index),
        "Spark": (there and "spark" in place.extras and shutil.which("java") is not None, spark),
        "serve and ask": (there and bool(place.extras & ONNX_RUNTIMES.keys()), serve_and_ask),
    }
    tried = [name for name, (possible, _) in checks.items() if possible]
    for name in tried:
        checks[name][1](place)
    return tried


def imports(place: Place) -> None:
    """What each extra is for can be imported, and pip sees no conflict."""
    for extra in sorted(place.extras & IMPORTS.keys()):
        place.run(str(place.python), "-W", "error::SyntaxWarning", "-c", IMPORTS[extra])


def help_of_all(place: Place) -> None:
    """Every command shows its help, or names the extra that it needs."""
    place.diffcdr("--help")
    place.run(str(place.python), "-m", "diffcdr", "--version")
    found = json.loads(place.run(str(place.python), "-c", HELP_OF_ALL).splitlines()[-1])
    for name, (extra, status, output) in found.items():
        helped = status == 0 and f"diffcdr {name}" in output
        sent_away = status == MISSING_EXTRA and extra not in place.extras and f"'diffcdr[{extra}]'" in output
        if not helped and not sent_away:
            raise SmokeFailed(f"diffcdr {name} --help ended with status {status}:\n{output[-2000:]}")


def train(place: Place) -> None:
    """Ratings are generated and trained on: the default bundle, one without a sparse term, and one with a graph."""
    place.diffcdr("synth", "--out", "ratings", "--users", "400", "--items", "150")
    tracked = ("--mlflow", (place.folder / "mlflow").as_uri()) if "mlflow" in place.extras else ()
    place.diffcdr("train", *RATINGS, "--bundle", "bundles/default", *tracked)
    place.diffcdr("train", *RATINGS, "--bundle", "bundles/dense", "--model", "ridge")
    graph = ("--preset", "robust", "--model", "ptupcdr", "--set", "ptupcdr.epochs=2")
    place.diffcdr("train", *RATINGS, "--bundle", "bundles/graph", *graph)
    manifest = json.loads(place.diffcdr("inspect", "bundles/graph", "--json"))["manifest"]
    versions, checked = manifest["provenance"]["versions"], manifest["transfer"]["parity"].keys()
    named = sorted(name for name in versions if name.startswith("onnxruntime"))
    expected = [place.onnx_runtime] if place.onnx_runtime else []
    if named != expected or checked != {"torch_onnx" if expected else "torch_reference"}:
        raise SmokeFailed(f"the manifest names {named} and was checked by {sorted(checked)}; expected was {expected}")


def score(place: Place) -> None:
    """The default bundle is scored with, and one with a graph too, where there is an ONNX Runtime for it."""
    options = ("--users", "all", "--k", "5")
    place.diffcdr("inspect", "bundles/default")
    place.diffcdr("score", "--bundle", "bundles/default", *options, "--out", "default.parquet")
    status = 0 if place.onnx_runtime else MISSING_EXTRA
    place.diffcdr("score", "--bundle", "bundles/graph", *options, "--out", "graph.parquet", status=status)


def index(place: Place) -> None:
    """An item index is made and searched by."""
    place.diffcdr("index", "bundles/dense", "--out", "bundles/indexed")
    place.diffcdr("score", "--bundle", "bundles/indexed", "--users", "all", "--k", "5", "--out", "indexed.parquet")


def spark(place: Place) -> None:
    """Spark scores."""
    asked = ("--users", "all", "--k", "5", "--engine", "spark", "--master", "local[1]")
    place.diffcdr("score", "--bundle", "bundles/default", *asked, "--out", "spark")


def serve_and_ask(place: Place) -> None:
    """The service answers over HTTP for both bundles, its client too where it is installed, and stops when asked."""
    for bundle in ("default", "graph"):
        with serving(place, bundle) as address:
            users = json.loads(ask(f"{address}/v1/users?limit=50"))["users"]
            answers = [json.loads(ask(f"{address}/v1/recommendations", {"user_id": user, "k": 3})) for user in users]
            transferred = [answer for answer in answers if answer["strategy"] == "transfer"]
            if not transferred or any(len(answer["items"]) != 3 for answer in answers):
                raise SmokeFailed(f"the service on bundle {bundle} transferred no user of {len(users)}: {answers[:1]}")
            if "client" in place.extras:
                program = (
                    f"from diffcdr.client import Client\nassert Client({address!r}).recommend({users[0]!r}, k=3).items"
                )
                place.run(str(place.python), "-c", program)


@contextmanager
def serving(place: Place, bundle: str) -> Iterator[str]:
    """The address of a service on ``bundle`` that is ready; it has to end with status 0 when it is told to."""
    command = [str(place.python.with_name("diffcdr")), "serve", "--bundle", f"bundles/{bundle}", "--port", "0"]
    log = place.folder / "service.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=place.folder,
            env=environment() | {"DIFFCDR_DRAIN_SECONDS": "0"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield wait_until_ready(process, log)
        process.terminate()
        if process.wait(START_SECONDS) != 0:
            raise SmokeFailed(f"the service ended with status {process.returncode}:\n{log.read_text()[-2000:]}")
    finally:
        process.kill()
        process.wait()


def wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    """The address that the service has logged, once it is ready there."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        found = re.search(r"http://[\d.]+:\d+", log.read_text())
        if found is not None:
            try:
                ask(f"{found.group()}/readyz")
                return found.group()
            except OSError:
                pass
        time.sleep(0.05)
    raise SmokeFailed(f"the service did not become ready; its log:\n{log.read_text()[-2000:]}")


def ask(url: str, body: object = None) -> bytes:
    """The answer to a GET, or to a POST of ``body`` as JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=START_SECONDS) as response:
        content: bytes = response.read()
    return content
