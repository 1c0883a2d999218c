"""``diffcdr doctor``: which devices there are, which will be used, and what is missing and how to install it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Annotated

import typer

from diffcdr.device.driver import Driver, read_driver
from diffcdr.device.names import Device, gpu_index, parse_device
from diffcdr.device.placement import CUDA_PROVIDER, built_for, find_obstacle, onnx_runtime
from diffcdr.errors import DeviceError

PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnx", "numba", "torch", "triton")


@dataclass(frozen=True)
class Finding:
    """What was found. ``uses``: the device that ``auto`` will take; ``missing``: why not a GPU, and the remedy."""

    driver_cuda: str | None
    gpus: list[str]
    packages: dict[str, str]
    providers: list[str]
    built_for_cuda: str | None
    uses: str
    missing: str | None


def doctor(
    device: Annotated[
        Device, typer.Option(parser=parse_device, metavar="DEVICE", help="Device to check: auto, cpu, cuda or cuda:N.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Show the available devices, which one will be used, and what is missing.

    With --device cuda it fails with status 4 if that GPU cannot be used.
    """
    found = examine(device, read_driver())
    typer.echo(json.dumps(asdict(found), indent=2) if as_json else _in_words(found, device))
    if device not in ("auto", "cpu") and found.missing is not None:
        raise DeviceError(f"device {device} cannot be used: {found.missing}")


def examine(device: Device, driver: Driver) -> Finding:
    """The devices of this machine, which has ``driver``, for ``device``."""
    packages = {name: found for name in PACKAGES if (found := _version(name)) is not None}
    runtime = onnx_runtime() if find_spec("onnxruntime") is not None else None
    providers = list(runtime.get_available_providers()) if runtime is not None else []
    missing = None if device == "cpu" else find_obstacle(gpu_index(device), driver)
    if missing is None and device != "cpu" and "onnx" not in packages:
        missing = "the search stays on the CPU without the package onnx; pip install 'diffcdr[serve-gpu]'"
    return Finding(
        driver_cuda=".".join(map(str, driver.cuda)) if driver.present else None,
        gpus=[
            f"{gpu.name}, {gpu.memory / 2**30:.0f} GiB, capability {gpu.capability[0]}.{gpu.capability[1]}"
            for gpu in driver.gpus
        ],
        packages=packages,
        providers=providers,
        built_for_cuda=".".join(map(str, built_for(runtime))) if CUDA_PROVIDER in providers else None,
        uses="cpu" if missing is not None or device == "cpu" else f"cuda:{gpu_index(device)}",
        missing=missing,
    )


def _in_words(found: Finding, device: Device) -> str:
    lines = [
        f"driver:   {'none (libcuda.so.1)' if found.driver_cuda is None else f'CUDA {found.driver_cuda} at most'}",
        *(f"GPU {number}:    {gpu}" for number, gpu in enumerate(found.gpus)),
        f"packages: {', '.join(f'{name} {number}' for name, number in found.packages.items()) or 'none'}",
        f"ONNX Runtime's providers: {', '.join(found.providers) or 'none'}",
    ]
    if found.built_for_cuda is not None:
        lines.append(f"its CUDA: {found.built_for_cuda}")
    lines.append(f"used:     {found.uses}")
    if device == "auto" and found.driver_cuda is None and found.providers:
        lines.append("missing:  nothing (no NVIDIA driver, so the CPU is used; --device cuda says what a GPU needs)")
    elif found.missing is not None:
        lines.append(f"missing:  {found.missing}")
    return "\n".join(lines)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
