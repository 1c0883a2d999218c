"""A device for torch beside the processor: finding it, timing on it, and calls that are recorded once and replayed.

The code that runs there is written for any torch device; tests hold it, on the processor, against the product's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from diffcdr.errors import DeviceError

DeviceName = Literal["cpu", "cuda"]
WARM_UP = 3
"""Calls made as they are before one is recorded: libraries choose kernels and take their memory in the first few."""


def find_device(name: DeviceName) -> torch.device:
    """The device called ``name``.

    Raises:
        DeviceError: it is not there.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            f"device cuda was asked for, but torch {torch.__version__} finds no CUDA device; "
            "run this on a machine with an NVIDIA driver and a CUDA build of torch, or leave --device out"
        )
    return torch.device(name)


def finished(work: Callable[[], object], device: torch.device) -> Callable[[], None]:
    """``work``, and then a wait until the device is done with it: what a clock on the wall can time."""

    def both() -> None:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return both


class Replayed:
    """``work`` on tensors of one shape, as one launch: on CUDA its kernels are recorded as a graph and replayed.

    A small step costs the launching of its kernels, not their arithmetic; a graph launches all of them at once.
    ``work`` must not wait for the device nor look at values. Elsewhere it is simply called.
    """

    def __init__(self, work: Callable[[Tensor], Tensor], device: torch.device) -> None:
        self._work = work
        self._device = device
        self._calls = 0
        self._input: Tensor | None = None
        self._replay: Callable[[], Tensor] | None = None

    def __call__(self, values: Tensor) -> Tensor:
        """``work(values)``; the result may be overwritten by the next call.

        Values of another shape than those it was recorded for are worked on as they are.
        """
        self._calls += 1
        if self._calls <= WARM_UP or (self._input is not None and values.shape != self._input.shape):
            return self._beside(values)
        if self._input is None or self._replay is None:
            self._input = values.clone()
            self._replay = self._record(self._input)
        self._input.copy_(values)
        return self._replay()

    def _beside(self, values: Tensor) -> Tensor:
        """Recording demands that the calls before it were on a stream other than the default."""
        if self._device.type != "cuda":
            return self._work(values)
        # Through a name with a type, which torch's own lacks.
        new_stream: Callable[[torch.device], torch.cuda.Stream] = torch.cuda.Stream
        stream, main = new_stream(self._device), torch.cuda.current_stream(self._device)
        stream.wait_stream(main)
        with torch.cuda.stream(stream):
            result = self._work(values)
        main.wait_stream(stream)
        return result

    def _record(self, values: Tensor) -> Callable[[], Tensor]:
        if self._device.type != "cuda":
            return lambda: self._work(values)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = self._work(values)

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay
