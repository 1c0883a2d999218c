"""What an install brings: pins, extras that stay apart, commands that exist, and what a person may import."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import diffcdr
from scripts.checks.installs import lower_bounds

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def constraints() -> dict[str, str]:
    """Name -> the rest of the line, for every line of constraints.txt that is not a comment."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(re.split("[^A-Za-z0-9._-]", pin, maxsplit=1)[0]): pin for pin in pins}


def direct_requirements() -> list[Requirement]:
    texts = PROJECT["dependencies"] + [text for extra in EXTRAS.values() for text in extra]
    return [requirement for text in texts if (requirement := Requirement(text)).name != "diffcdr"]


def closure(extra: str) -> set[str]:
    """Names of every distribution that ``diffcdr[extra]`` brings, this project left out, as installed here."""
    found: set[str] = set()
    pending = [("diffcdr", frozenset({extra}))]
    visited = set()
    while pending:
        name, extras = pending.pop()
        if (name, extras) in visited:
            continue
        visited.add((name, extras))
        found.add(name)
        for text in metadata.requires(name) or []:
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": wanted}) for wanted in extras | {""}):
                pending.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return found - {"diffcdr"}


def test_constraints_are_exact_public_versions_in_order() -> None:
    pins = list(constraints().values())
    for pin in pins:
        found = re.fullmatch(r"[A-Za-z0-9._-]+==(\S+)", pin)
        assert found is not None, pin
        # A local label (2.13.0+cpu) exists on no public index.
        assert Version(found.group(1)).local is None, pin
    assert pins == sorted(pins, key=str.lower)


def test_every_direct_requirement_allows_its_pin() -> None:
    pins = constraints()
    for requirement in direct_requirements():
        pin = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin.partition("==")[2]), f"{requirement} against {pin}"


def test_everything_an_install_brings_is_pinned() -> None:
    # NVIDIA's libraries and triton come with torch's CUDA build, which names them exactly itself.
    brought = {name for name in closure("dev") if not name.startswith(("nvidia-", "triton", "cuda-"))}
    assert brought - constraints().keys() == set()


def test_torch_is_the_version_everyone_trains_with() -> None:
    """A pin for tests and images; a range for whoever installs it beside something else."""
    assert constraints()["torch"] == "torch==2.13.0"
    assert "torch>=2.13" in EXTRAS["train-core"]


@pytest.mark.parametrize(
    ("extra", "brings", "leaves_out"),
    [
        ("serve", {"fastapi", "uvicorn", "onnxruntime", "redis"}, {"torch", "onnx", "onnxscript", "safetensors"}),
        (
            "train",
            {"torch", "onnx", "onnxscript", "safetensors"},
            {"fastapi", "uvicorn", "starlette", "redis", "onnxruntime", "onnxruntime-gpu"},
        ),
    ],
)
def test_extras_stay_apart(extra: str, brings: set[str], leaves_out: set[str]) -> None:
    installed = closure(extra)
    assert brings <= installed
    assert installed & leaves_out == set()


def test_the_gpu_extra_differs_from_serve_in_onnxruntime_alone() -> None:
    serve, gpu = set(EXTRAS["serve"]), set(EXTRAS["serve-gpu"])
    assert {Requirement(text).name for text in serve - gpu} == {"onnxruntime"}
    added = {requirement.name: requirement.extras for requirement in map(Requirement, gpu - serve)}
    assert added == {"onnxruntime-gpu": {"cuda", "cudnn"}, "onnx": set()}  # onnx: the search there is written in it


def test_no_extra_but_those_of_serving_brings_an_onnx_runtime() -> None:
    """pip would install two of its distributions over each other."""
    bringing = {
        extra
        for extra, texts in EXTRAS.items()
        if any(Requirement(text).name.startswith("onnxruntime") for text in texts)
    }
    assert bringing == {"serve", "serve-gpu"}


def test_every_direct_requirement_has_a_lower_bound_that_its_pin_reaches() -> None:
    pins = constraints()
    for bound in lower_bounds():
        name, _, oldest = bound.partition("==")
        assert Version(pins[canonicalize_name(name)].partition("==")[2]) >= Version(oldest)


def test_every_direct_dependency_is_explained() -> None:
    text = (ROOT / "docs" / "reference" / "dependencies.md").read_text()
    explained = set(re.findall(r"^\| ([a-z0-9-]+) \|.*\|.*\|$", text, flags=re.MULTILINE)) - {"package"}
    assert explained == {canonicalize_name(requirement.name) for requirement in direct_requirements()}


def test_the_version_is_said_once() -> None:
    assert PROJECT["version"] == diffcdr.__version__ == metadata.version("diffcdr")


def test_commands_exist_and_name_an_extra_that_does() -> None:
    declared = metadata.entry_points(group="diffcdr.commands")
    assert {point.name for point in declared} == set(PROJECT["entry-points"]["diffcdr.commands"])
    assert {point.name for point in declared} >= {"train", "synth", "serve", "bench"}
    for point in declared:
        command = getattr(importlib.import_module(point.module), point.attr)
        assert inspect.getdoc(command), f"{point.name} has no help text"
        assert [extra for extra in point.extras if extra in EXTRAS] == list(point.extras) != []


# Loaded by name, once asked for; without the extra the command says which to install.
WITH_AN_EXTRA_OF_THEIR_OWN = {Path("training/trackers/mlflow.py"), Path("bench/serving/event_store.py")}


@pytest.mark.parametrize(
    ("packages", "blocked"),
    [
        (["diffcdr"], ["torch", "fastapi", "starlette", "uvicorn", "redis", "training", "service"]),
        (["diffcdr", "service"], ["torch", "onnx", "onnxscript", "training"]),
        (["diffcdr", "training", "bench"], ["fastapi", "starlette", "uvicorn", "redis", "service"]),
    ],
)
def test_a_package_imports_without_what_its_extra_leaves_out(packages: list[str], blocked: list[str]) -> None:
    """Every module is imported in a fresh interpreter in which the ``blocked`` packages cannot be found."""
    modules = sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in packages
        for path in (ROOT / package).rglob("*.py")
        if path.relative_to(ROOT) not in WITH_AN_EXTRA_OF_THEIR_OWN
    )
    assert modules
    program = (
        "import importlib, sys\n"
        f"for name in {blocked!r}: sys.modules[name] = None\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("extras", "folder", "others"),
    [
        ("", "diffcdr", ("diffcdr/client", "diffcdr/commands/rollout.py", "diffcdr/search/compiled")),
        ("client", "diffcdr/client", ()),
        ("serve", "service", ("service/edge/tracing.py",)),
        ("serve,otel", "service/edge/tracing.py", ()),
        ("train", "training", ("training/spark", "training/trackers/mlflow.py")),
        ("fast", "diffcdr/search/compiled", ()),
        ("train,mlflow", "training/trackers/mlflow.py", ()),
        ("train,spark", "training/spark", ()),
    ],
)
def test_an_extra_alone_brings_what_its_modules_import(extras: str, folder: str, others: tuple[str, ...]) -> None:
    """What is imported as a module is loaded; imports within functions are for what may be missing."""
    brought = set().union(*map(closure, extras.split(",")))
    distributions = metadata.packages_distributions()
    missing = set()
    for path in [ROOT / folder] if folder.endswith(".py") else (ROOT / folder).rglob("*.py"):
        if str(path.relative_to(ROOT)).startswith(others):
            continue
        for name in imported_at_once(ast.parse(path.read_text("utf-8"))) - sys.stdlib_module_names:
            owners = {canonicalize_name(owner) for owner in distributions.get(name, [name])}
            if not owners & (brought | {"diffcdr"}):
                missing.add(f"{path.relative_to(ROOT)}: {name}")
    assert missing == set()


def imported_at_once(tree: ast.Module) -> set[str]:
    """The packages that a module imports as it is loaded."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_nothing_reads_the_environment_when_imported() -> None:
    """No module-level statement (function bodies aside) mentions ``os.environ`` or ``os.getenv``."""
    readers = []
    for package in ("diffcdr", "training", "service", "bench"):
        for path in (ROOT / package).rglob("*.py"):
            for statement in ast.parse(path.read_text()).body:
                if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    continue
                attributes = {node.attr for node in ast.walk(statement) if isinstance(node, ast.Attribute)}
                if attributes & {"environ", "getenv"}:
                    readers.append(f"{path.relative_to(ROOT)}:{statement.lineno}")
    assert readers == []
