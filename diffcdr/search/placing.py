"""Decides whether a bundle's items are searched on a GPU."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from diffcdr.bundle.reader import TargetItems
from diffcdr.device.health import DeviceHealth
from diffcdr.device.names import Device
from diffcdr.device.placement import place
from diffcdr.errors import DeviceError
from diffcdr.search.approximate import ApproximateTopK
from diffcdr.search.device_search import DeviceTopK
from diffcdr.search.topk import TopK

Search = TopK | ApproximateTopK | DeviceTopK

logger = logging.getLogger(__name__)

FEWEST_ITEMS = 4_096
"""With fewer items, the GPU is used only if required: the CPU answers before a kernel has started."""


def search_on(
    wanted: Device,
    listed: TopK | ApproximateTopK,
    *,
    items: TargetItems,
    device: Device,
    sample: npt.NDArray[np.float32],
    health: DeviceHealth,
    bundle: Path,
) -> Search:
    """``listed``, or the same items on a GPU.

    Args:
        wanted: ``auto``, ``cpu``, or a required GPU.
        listed: the search on the CPU; an approximate one stays there.
        items: of the bundle.
        device: the requested device of the transfer; ``auto`` follows it.
        sample: float32 [S, dim], typical user vectors.
        health: records failures.
        bundle: named in messages.

    Raises:
        DeviceError: a GPU is required and cannot be used.
    """
    forced = wanted not in ("auto", "cpu")
    if not isinstance(listed, TopK):
        if forced:
            raise DeviceError(
                f"bundle {bundle} carries an item index, which is searched on the CPU; "
                "set the search's device to auto or cpu, or publish the bundle without an index"
            )
        return listed
    few = listed.n_items < FEWEST_ITEMS or not len(sample) or not listed.dim
    if wanted == "cpu" or (not forced and (device == "cpu" or few)) or not listed.n_items:
        return listed
    placement = place(wanted if forced else device)
    if not placement.on_gpu:
        return listed
    if not len(sample):
        sample = np.zeros((1, listed.dim), dtype=np.float32)
    tables = (items.vectors, items.biases)
    try:
        return DeviceTopK(listed, tables, placement, health=health, sample=sample, forced=forced)
    except Exception as error:  # ONNX Runtime raises RuntimeError, and errors of its own
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
        what = (
            f"the {listed.n_items:,} items x {listed.dim} of bundle {bundle} cannot be searched on {placement.device}"
        )
        if forced:
            raise DeviceError(f"{what} ({reason}); make room there, or search on the CPU") from error
        logger.warning("%s, but on the CPU: %s", what, reason)
        return listed
