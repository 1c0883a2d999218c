"""Checks the installation before a command runs.

That ``training`` and ``service`` are ours and nobody else's of the same names; that the libraries are of versions
that this one works with; that there is one ONNX Runtime, not two of its distributions over each other.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from diffcdr.errors import InputError

OWN_PACKAGES = frozenset({"bench", "diffcdr", "service", "training"})
HOME = Path(__file__).resolve().parent.parent
"""Where our packages lie side by side: site-packages, or the folder of the sources."""
ONNX_RUNTIME = "onnxruntime"
"""A module that several distributions bring: onnxruntime, onnxruntime-gpu and others."""


def check_installation(module: str, extras: Collection[str]) -> None:
    """Check what the command in ``module`` needs; ``extras`` provide its imports.

    Raises:
        InputError: another package stands in the way of ours, a library is too old or too new, or two distributions
            of ONNX Runtime are installed. The message says which, and what to do.
    """
    package = module.partition(".")[0]
    if package in OWN_PACKAGES:
        check_own(package)
    check_one_onnx_runtime()
    check_versions(extras)


def check_own(package: str) -> None:
    """Raise InputError if Python would import another ``package`` in place of ours, or a mixture."""
    place, ours = location(package), HOME / package
    if place is not None and place != ours:
        raise InputError(
            f"Python finds another package {package!r}, {place}, before DiffCDR's own, {ours}; "
            f"start diffcdr in another folder, or take {place.parent} off PYTHONPATH, or rename that package"
        )
    others = [each.name for each in distributions_of(package) if each.name != "diffcdr"]
    if others:
        raise InputError(
            f"{' and '.join(others)} was installed over the package {package!r} of DiffCDR in {HOME}; "
            f"uninstall it and install diffcdr again, or give each an environment of its own"
        )


def check_one_onnx_runtime() -> None:
    """Raise InputError if two distributions of ONNX Runtime are installed, or one with missing files."""
    names = [each.name for each in distributions_of(ONNX_RUNTIME)]
    if len(names) > 1:
        raise InputError(
            f"{' and '.join(names)} are installed over each other, and what runs is a mixture of both; "
            f"run: pip uninstall {' '.join(names)}, then install diffcdr with either the extra serve or serve-gpu"
        )
    place = location(ONNX_RUNTIME)
    if names and place is not None and not (place / "__init__.py").is_file():
        # What is left where the other one was uninstalled.
        raise InputError(
            f"{names[0]} is installed, but files of it are gone, as after the uninstall of another ONNX Runtime; "
            f"run: pip install --force-reinstall --no-deps {names[0]}"
        )


def check_versions(extras: Collection[str]) -> None:
    """Raise InputError if a library that ``extras`` or every install requires has an unsupported version.

    What is not installed at all is left to the import to find.
    """
    wrong = []
    for name, wanted in _requirements(extras):
        found = _installed_version(name)
        if found is not None and not wanted.contains(found, prereleases=True):
            wrong.append((f"{name} {found}", f"{name}{wanted}"))
    if wrong:
        found_ones, wanted_ones = zip(*wrong, strict=True)
        raise InputError(
            f"this version of DiffCDR does not work with {', '.join(found_ones)}; "
            f"run: pip install {' '.join(repr(each) for each in wanted_ones)}"
        )


def library_versions(modules: Iterable[str]) -> dict[str, str]:
    """Versions of ``modules`` by the names of the distributions that bring them, such as onnxruntime-gpu.

    A module that is not installed is left out; one without a distribution goes by its own name.
    """
    return dict(found for module in modules if (found := _library(module)) is not None)


def location(package: str) -> Path | None:
    """The folder that ``import package`` would use, without importing it; None if there is none."""
    loaded = sys.modules.get(package)
    if loaded is not None:
        places = list(getattr(loaded, "__path__", ()))
    else:
        spec = find_spec(package)
        places = list(spec.submodule_search_locations or ()) if spec is not None else []
    return Path(places[0]).resolve() if places else None


def distributions_of(package: str) -> list[metadata.Distribution]:
    """The distributions that installed files of ``package`` where Python finds it.

    None for a folder of sources, and where the system's packager keeps no list of files.
    """
    place = location(package)
    if place is None:
        return []
    folders = sorted(place.parent.glob("*.dist-info"))
    return [metadata.Distribution.at(folder) for folder in folders if _installs(folder, package)]


def _installs(folder: Path, package: str) -> bool:
    record = folder / "RECORD"
    return record.is_file() and f"\n{package}/__init__.py,".encode() in b"\n" + record.read_bytes()


def _library(module: str) -> tuple[str, str] | None:
    found = distributions_of(module)
    if found:
        return found[0].name, found[0].version
    try:
        return module, metadata.version(module)
    except metadata.PackageNotFoundError:
        if location(module) is None:
            return None
        return module, str(getattr(import_module(module), "__version__", "unknown"))


def _requirements(extras: Collection[str]) -> Iterable[tuple[str, SpecifierSet]]:
    """(name, versions) of what every install and ``extras`` bring, and of ONNX Runtime, which ``train`` leaves open."""
    try:
        texts = metadata.requires("diffcdr") or []
    except metadata.PackageNotFoundError:
        return
    for text in texts:
        requirement = Requirement(text)
        marker = requirement.marker
        if (
            marker is None
            or requirement.name == ONNX_RUNTIME
            or any(marker.evaluate({"extra": each}) for each in ("", *extras))
        ):
            yield requirement.name, requirement.specifier


def _installed_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        # Under another name perhaps: polars-lts-cpu brings polars.
        found = distributions_of(name.replace("-", "_"))
        return found[0].version if found else None
