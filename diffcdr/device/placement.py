"""Decides whether ONNX Runtime can use a GPU here; if not, says why and how to change that."""

from __future__ import annotations

import ctypes
import io
import logging
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from diffcdr.device.driver import Driver, read_driver
from diffcdr.device.names import Device, gpu_index
from diffcdr.errors import DeviceError, MissingExtraError

logger = logging.getLogger(__name__)

CPU_PROVIDER, CUDA_PROVIDER = "CPUExecutionProvider", "CUDAExecutionProvider"
CUDA_LIBRARIES = ("libcudart", "libcublasLt", "libcublas", "libcurand", "libcufft", "libcudnn")
"""What the provider needs, each after what it needs itself."""
ERRORS_ONLY = 3
INSTALL = "pip install 'diffcdr[serve-gpu]'"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a graph is computed.

    ``device``: ``cpu`` or ``cuda:N``. ``version``: ONNX Runtime's, empty where it is not needed. ``reason``: why it is
    not the GPU, where one might be expected.
    """

    device: str
    provider: str = CPU_PROVIDER
    version: str = ""
    reason: str | None = None

    @property
    def on_gpu(self) -> bool:
        """Whether it is a GPU."""
        return self.device != "cpu"

    @property
    def index(self) -> int:
        """The number of the GPU."""
        return gpu_index(self.device)


CPU = Placement("cpu")


def place(device: Device, *, driver: Callable[[], Driver] = read_driver) -> Placement:
    """The placement that ``device`` means on this machine.

    Where ``auto`` ends on the CPU although a driver is there, one warning says why.

    Raises:
        DeviceError: a GPU was asked for by name and cannot be used; says why and what to do.
    """
    if device == "cpu":
        return CPU
    found = driver()
    index = gpu_index(device)
    obstacle = find_obstacle(index, found)
    if obstacle is None:
        return Placement(f"cuda:{index}", CUDA_PROVIDER, onnx_runtime().__version__)
    if device != "auto":
        raise DeviceError(f"device {device} cannot be used: {obstacle}, or use device auto or cpu")
    if not found.present:
        return CPU
    _warn_once(f"a GPU driver is here, but computing on the CPU: {obstacle}")
    return Placement("cpu", reason=obstacle)


def find_obstacle(index: int, driver: Driver) -> str | None:
    """Why GPU ``index`` cannot be used by ONNX Runtime here, and the remedy, in one sentence; None if it can."""
    if find_spec("onnxruntime") is None:
        return f"ONNX Runtime is not installed; {INSTALL}"
    runtime = onnx_runtime()
    if CUDA_PROVIDER not in runtime.get_available_providers():
        return (
            f"the ONNX Runtime installed here ({runtime.__version__}) is built without CUDA; "
            f"pip uninstall onnxruntime, then {INSTALL}"
        )
    return _without_gpu(index, driver) or _without_cuda(runtime, driver) or load_provider(runtime)


def _without_gpu(index: int, driver: Driver) -> str | None:
    if not driver.present:
        return "there is no NVIDIA driver (libcuda.so.1); install one, and give a container its GPUs (--gpus all)"
    if driver.problem is not None:
        return f"{driver.problem}; check nvidia-smi, and restart the machine or the container"
    if index >= len(driver.gpus):
        names = ", ".join(f"{number} {gpu.name}" for number, gpu in enumerate(driver.gpus))
        return f"there is no GPU {index} (there are: {names}); name one of these"
    return None


def _without_cuda(runtime: Any, driver: Driver) -> str | None:
    built = built_for(runtime)
    if driver.cuda[0] < built[0]:
        return (
            f"the driver runs CUDA {_dotted(driver.cuda)} at most, and ONNX Runtime {runtime.__version__} is built for "
            f"{_dotted(built)}; update the driver, or install an onnxruntime-gpu for CUDA {driver.cuda[0]}"
        )
    return None


def load_provider(runtime: Any) -> str | None:
    """Load CUDA's libraries from pip's packages, then the provider; returns what is missing and the remedy, or None."""
    # What it prints about libraries it does not find would stand among the output of a command.
    with redirect_stdout(io.StringIO()), suppress(Exception):
        runtime.preload_dlls()
        runtime.set_default_logger_severity(ERRORS_ONLY)  # else each session warns of plugins that nobody asked for
    _preload_elsewhere()
    folder = Path(runtime.__file__).parent / "capi"
    try:
        for name in ("libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so"):
            ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        return f"ONNX Runtime's CUDA provider cannot be loaded ({error}); {INSTALL} brings what it needs"
    return None


def _preload_elsewhere() -> None:
    """Load what ONNX Runtime looks for beside itself alone from wherever packages of NVIDIA are."""
    found = find_spec("nvidia")
    folders = [Path(each) for each in (found.submodule_search_locations or ())] if found is not None else []
    for name in CUDA_LIBRARIES:
        for library in sorted(path for folder in folders for path in folder.glob(f"*/lib/{name}.so.*")):
            with suppress(OSError):
                ctypes.CDLL(str(library))


def built_for(runtime: Any) -> tuple[int, int]:
    """The CUDA that ONNX Runtime is built for, (major, minor); (0, 0) where it does not say."""
    major, _, minor = str(getattr(runtime, "cuda_version", "") or "0.0").partition(".")
    return int(major), int(minor.partition(".")[0] or 0)


def onnx_runtime() -> Any:
    """The module. Raises MissingExtraError where it is not installed."""
    try:
        return import_module("onnxruntime")  # optional: affine bundles do not need it
    except ImportError as error:
        raise MissingExtraError("this bundle's transfer", extra="serve") from error


@cache
def _warn_once(message: str) -> None:
    logger.warning(message)


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
