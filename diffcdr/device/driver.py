"""The NVIDIA driver: its version and its GPUs, read from ``libcuda.so.1``.

Looking makes no context on any GPU, but a process must not fork afterwards and then use CUDA in the child.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LIBRARY = "libcuda.so.1"
_TOTAL_NAME = 96
_MAJOR, _MINOR = 75, 76
"""Attributes: compute capability (``CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR`` and ``_MINOR``)."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. ``memory``: bytes; ``capability``: (major, minor)."""

    name: str
    memory: int
    capability: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Driver:
    """What was found.

    ``present``: the library is there. ``cuda``: the newest CUDA it runs, (major, minor). ``problem``: why there are no
    ``gpus`` although it is present.
    """

    present: bool
    cuda: tuple[int, int] = (0, 0)
    gpus: tuple[Gpu, ...] = ()
    problem: str | None = None


def read_driver(load: Callable[[str], Any] = ctypes.CDLL) -> Driver:
    """The driver of this machine. ``load``: opens a shared library by name, or raises OSError."""
    try:
        library = load(LIBRARY)
    except OSError:
        return Driver(present=False)
    version = ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(version))
    cuda = (version.value // 1000, version.value % 1000 // 10)
    status = library.cuInit(0)
    if status != 0:
        return Driver(present=True, cuda=cuda, problem=f"the driver cannot start ({_error(library, status)})")
    count = ctypes.c_int()
    library.cuDeviceGetCount(ctypes.byref(count))
    gpus = tuple(_gpu(library, index) for index in range(count.value))
    return Driver(present=True, cuda=cuda, gpus=gpus, problem=None if gpus else "the driver sees no GPU")


def _gpu(library: Any, index: int) -> Gpu:
    device, memory = ctypes.c_int(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(_TOTAL_NAME)
    library.cuDeviceGet(ctypes.byref(device), index)
    library.cuDeviceGetName(name, _TOTAL_NAME, device)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    major, minor = ctypes.c_int(), ctypes.c_int()
    library.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    library.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    return Gpu(name.value.decode(), memory.value, (major.value, minor.value))


def _error(library: Any, status: int) -> str:
    text = ctypes.c_char_p()
    library.cuGetErrorName(status, ctypes.byref(text))
    return f"{text.value.decode()}, code {status}" if text.value else f"code {status}"
