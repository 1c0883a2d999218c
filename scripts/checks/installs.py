"""``make extras``, ``pythons``, ``lowest`` and ``dist``: install into fresh environments, and try what comes of it.

    python -m scripts.checks.installs extras [EXTRA,EXTRA …]  every extra alone and those that go together
    python -m scripts.checks.installs pythons [PYTHON …]      all extras under every Python of PYTHONS there is
    python -m scripts.checks.installs lowest [ARGUMENT …]     the oldest libraries allowed, and pytest with ARGUMENT …
    python -m scripts.checks.installs dist                    wheel and source archive into dist/, checked

What is installed is the wheel, at the versions of constraints.txt. Two things are left out, as they would bring CUDA by
the gigabyte: NVIDIA's libraries beside onnxruntime-gpu, which runs on a processor without them, and torch where pip
would take a build for CUDA, unless ``--cuda-torch`` asks for it. Status 0: all is well; 1: something is not, which is
said.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.checks.smoke import Place, SmokeFailed, smoke

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, BUILD_SYSTEM = PYPROJECT["project"], PYPROJECT["build-system"]["requires"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
TOGETHER = (("train", "serve"), ("train", "serve-gpu"), ("serve", "client"), ("all",))
"""Beside every extra alone; of those ``dev`` and its parts are what the tests run with."""
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""What ``make pythons`` looks for. pyproject.toml has a classifier for those with which it has passed."""
ALONE = tuple(name for name in EXTRAS if name not in {"all", "check", "dev", "test"})
TESTS_OF_LOWEST = (
    *("tests/unit", "tests/contract", "tests/packaging"),
    # That old libraries call newer ones in ways that will go is no fault of ours.
    *("-W", "ignore::DeprecationWarning", "-W", "ignore::PendingDeprecationWarning"),
    # It is about the pins, which are what this environment does without.
    *("--deselect", "tests/packaging/test_extras.py::test_everything_an_install_brings_is_pinned"),
)


@dataclass(frozen=True)
class Workplace:
    """A temporary folder, the wheel, and the bundles once an environment has trained them."""

    folder: Path
    wheel: Path
    bundles: Path
    """Of the first environment that could train, or given; for those that cannot."""
    cuda_torch: bool = False
    """Install torch also where pip would take a build for CUDA."""

    def try_out(self, name: str, python: str, extras: Iterable[str]) -> None:
        """A fresh environment with ``extras``, installed and tried; says how long both took, and removes it."""
        here = self.folder / re.sub(r"\W+", "-", name)
        started = time.monotonic()
        environment = make_environment(python, here / "venv")
        left_out = install(environment, self.wheel, extras, cuda_torch=self.cuda_torch)
        installed = time.monotonic()
        named = expand(extras) - ({"train"} if "torch" in left_out else set())
        place = Place(environment, frozenset(named), here / "work")
        place.folder.mkdir()
        tried = smoke(place, self.bundles)
        if "train" in tried and not self.bundles.exists():
            shutil.copytree(place.folder / "bundles", self.bundles)
        size = sum(path.lstat().st_size for path in (here / "venv").rglob("*"))
        note = f"; without {', '.join(left_out)}" if left_out else ""
        print(
            f"{name}: {size / 1e6:,.0f} MB installed in {installed - started:.0f} s; "
            f"{', '.join(tried)} in {time.monotonic() - installed:.0f} s{note}",
            flush=True,
        )
        shutil.rmtree(here)


def make_environment(python: str, folder: Path) -> Path:
    """A virtual environment of ``python``, without pip: ours installs into it. Returns its interpreter."""
    run(python, "-m", "venv", "--without-pip", str(folder))
    return folder / "bin" / "python"


def install(environment: Path, wheel: Path, extras: Iterable[str], *, cuda_torch: bool) -> list[str]:
    """Install the wheel and what ``extras`` bring, as pinned; returns the names of what was left out."""
    wanted, left_out = [], []
    for requirement in requirements(extras):
        name = distribution(requirement)
        if name == "torch" and not cuda_torch and not has_torch_without_cuda(environment):
            left_out.append(name)
        elif name == "onnxruntime-gpu":
            wanted.append(re.sub(r"\[.*\]", "", requirement))
            left_out.append("NVIDIA's libraries")
        else:
            wanted.append(requirement)
    pip(environment, "install", str(wheel), *wanted)
    pip(environment, "check")
    return left_out


def has_torch_without_cuda(environment: Path) -> bool:
    """Whether the torch that pip would install there is a build for processors; asks, and downloads nothing."""
    pin = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    asked = pip(environment, "install", "--dry-run", "--no-deps", "--quiet", "--report=-", pin)
    (torch,) = json.loads(asked)["install"]
    needs = torch["metadata"].get("requires_dist", ())
    return "+cpu" in torch["metadata"]["version"] or not any(each.startswith(("nvidia-", "cuda-")) for each in needs)


def expand(extras: Iterable[str]) -> set[str]:
    """``extras`` and those that they consist of."""
    found: set[str] = set()
    pending = list(extras)
    while pending:
        extra = pending.pop()
        found.add(extra)
        pending += [each for text in EXTRAS[extra] for each in own_extras(text) if each not in found]
    return found


def requirements(extras: Iterable[str]) -> list[str]:
    """What ``extras`` bring, but for references to other extras of ours."""
    return [text for extra in sorted(expand(extras)) for text in EXTRAS[extra] if not own_extras(text)]


def own_extras(requirement: str) -> list[str]:
    """The extras that ``diffcdr[…]`` names; none where the requirement is on something else."""
    found = re.fullmatch(r"diffcdr\[(.*)\]", requirement)
    return found.group(1).split(",") if found else []


def distribution(requirement: str) -> str:
    """The name that a requirement begins with."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


def pip(environment: Path, *arguments: str, constraints: Path = ROOT / "constraints.txt") -> str:
    """What pip prints that is run for ``environment``; ``constraints`` hold for what builds packages too."""
    quiet = ("--no-compile", "-qq") if arguments[0] == "install" and "--dry-run" not in arguments else ()
    own = ("--disable-pip-version-check", "--no-input", "--python", str(environment))
    variables = os.environ | {"PIP_CONSTRAINT": str(constraints)}
    return run(sys.executable, "-m", "pip", *own, *arguments, *quiet, environment=variables)


def run(*command: str, environment: Mapping[str, str] = os.environ) -> str:
    """What ``command`` prints on standard output. Raises SmokeFailed where it fails."""
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SmokeFailed(
            f"{' '.join(command)[:300]} ended with status {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}"
        )
    return done.stdout


def build(out: Path) -> list[Path]:
    """The source archive, and the wheel that comes of it, in ``out``."""
    run(sys.executable, "-m", "build", "--outdir", str(out), str(ROOT))
    return sorted(out.iterdir())


def extras(workplace: Workplace, names: Sequence[str]) -> None:
    """Every extra alone and those that go together, or those that are named."""
    chosen = [tuple(filter(None, name.split(","))) for name in names] or [*TOGETHER, (), *((name,) for name in ALONE)]
    if unknown := {extra for each in chosen for extra in each} - EXTRAS.keys():
        raise SmokeFailed(f"there is no extra {', '.join(sorted(unknown))}; there are {', '.join(EXTRAS)}")
    if not any("train" in expand(each) for each in chosen[:1]):
        # Somebody has to make the bundles for those who cannot.
        chosen.insert(0, ("train",))
    for each in chosen:
        workplace.try_out(f"diffcdr[{','.join(each)}]" if each else "diffcdr", sys.executable, each)


def pythons(workplace: Workplace, names: Sequence[str]) -> None:
    """All extras under every Python of ``PYTHONS`` that is here, the one that runs this first."""
    found = {version: find_python(version) for version in PYTHONS} if not names else {name: name for name in names}
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    for version in sorted(found, key=lambda each: each != own):
        python = found[version]
        if python is None:
            print(f"Python {version}: not found; name it: make pythons PYTHONS=/path/to/python{version}", flush=True)
        else:
            workplace.try_out(f"Python {python_version(python)}", python, ("all",))
    refuse_old_python()


def find_python(version: str) -> str | None:
    """An interpreter of ``version`` (such as 3.12): this one's, one on the PATH, or the newest of pyenv's."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    folder = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    by_pyenv = sorted(folder.glob(f"{version}.*/bin/python"), key=lambda path: int(path.parts[-3].split(".")[2]))
    candidates = [*map(str, reversed(by_pyenv)), f"python{version}"]
    return next((each for each in candidates if python_version(each).startswith(f"{version}.")), None)


def python_version(python: str) -> str:
    """Such as 3.12.1; empty where there is no such program, or only a stand-in that starts none."""
    try:
        command = [python, "-c", "import platform; print(platform.python_version())"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def refuse_old_python() -> None:
    """A Python before the oldest supported, where there is one, is told so in a sentence."""
    python = next(filter(None, (find_python(f"3.{minor}") for minor in range(10, 5, -1))), None)
    if python is None:
        print("no older Python is here to be refused")
        return
    command = [python, "-B", "-m", "diffcdr", "serve"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 2 or not done.stderr.startswith("error: diffcdr needs Python") or done.stderr.count("\n") > 1:
        raise SmokeFailed(f"Python {python_version(python)} ended with {done.returncode}:\n{done.stderr}")
    print(f"Python {python_version(python)}: refused in one sentence")


def lowest(workplace: Workplace, arguments: Sequence[str]) -> None:
    """The oldest libraries that pyproject.toml allows, with the tests at their pins."""
    floors = workplace.folder / "lowest.txt"
    floors.write_text("\n".join(lower_bounds()) + "\n")
    print(floors.read_text(), flush=True)
    environment = make_environment(sys.executable, workplace.folder / "venv")
    pip(environment, "install", "--editable", f"{ROOT}[all,test]", constraints=floors)
    command = [str(environment), "-m", "pytest", *TESTS_OF_LOWEST, *arguments]
    path = f"{environment.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PATH": path}, check=False)
    if done.returncode != 0:
        raise SmokeFailed("the tests fail with the oldest libraries that pyproject.toml allows; raise its lower bounds")


def lower_bounds() -> list[str]:
    """``name==version`` for the lower bound of every direct requirement."""
    bounds, missing = set(), []
    for text in [*PROJECT["dependencies"], *requirements(["all", "test"]), *BUILD_SYSTEM]:
        bound = re.search(r">=([\d.]+)", text)
        if bound is None:
            missing.append(text)
        else:
            bounds.add(f"{distribution(text)}=={bound.group(1)}")
    if missing:
        raise SmokeFailed(f"pyproject.toml gives no lower bound for {', '.join(missing)}")
    return sorted(bounds)


def dist(workplace: Workplace, _: Sequence[str]) -> None:
    """Wheel and source archive, checked as an index would, installed and tried."""
    made = sorted(workplace.wheel.parent.iterdir())
    run(sys.executable, "-m", "twine", "check", "--strict", *map(str, made))
    workplace.try_out("diffcdr[train,serve,client]", sys.executable, ("train", "serve", "client"))
    out = ROOT / "dist"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(workplace.wheel.parent, out)
    for path in made:
        print(f"dist/{path.name}: {path.stat().st_size / 1e3:,.0f} kB")


TARGETS: dict[str, Callable[[Workplace, Sequence[str]], None]] = {
    "dist": dist,
    "extras": extras,
    "lowest": lowest,
    "pythons": pythons,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked for in a temporary folder; 0 where all is well."""
    parser = argparse.ArgumentParser(description="Install into fresh environments, and try what comes of it.")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("rest", nargs="*", help="extras, Pythons, or arguments of pytest")
    parser.add_argument("--bundles", type=Path, help="folder for bundles, used where it is there: of another Python's")
    parser.add_argument(
        "--cuda-torch", action="store_true", help="install torch even where it is a build for CUDA (GBs)"
    )
    options, further = parser.parse_known_args(arguments)
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="diffcdr-installs-") as name:
            folder = Path(name)
            wheel = next(path for path in build(folder / "dist") if path.suffix == ".whl")
            bundles = options.bundles or folder / "bundles"
            workplace = Workplace(folder, wheel, bundles, cuda_torch=options.cuda_torch)
            TARGETS[options.target](workplace, [*options.rest, *further])
    except SmokeFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{options.target}: all is well, in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
