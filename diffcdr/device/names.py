"""What a compute device is called: ``auto``, ``cpu``, ``cuda`` (the first GPU) or ``cuda:N``."""

from __future__ import annotations

import re

Device = str
"""``auto``, ``cpu``, ``cuda`` or ``cuda:N``, as :func:`parse_device` lets it pass."""

EXPECTED = "auto, cpu, cuda or cuda:N"
_NAME = re.compile(r"auto|cpu|cuda(:\d{1,3})?")


def parse_device(text: str) -> Device:
    """``text`` if it names a device. Raises ValueError, with what is expected."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is not a device; expected {EXPECTED}")
    return text


def gpu_index(device: Device) -> int:
    """The number of the GPU that ``device`` names; 0 where it names none."""
    return int(device.partition(":")[2] or 0)
