"""ONNX Runtime with a CUDA provider that is none: sessions and values live on the CPU, options are written down.

What it cannot show is what a GPU does; what it shows is what a GPU is asked to do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import onnxruntime
import pytest

from diffcdr.device.placement import CUDA_PROVIDER, Placement

GPU = Placement("cuda:0", CUDA_PROVIDER, onnxruntime.__version__)


class _Session:
    def __init__(self, runtime: GpuStandIn, graph: bytes, sess_options: Any) -> None:
        self._runtime = runtime
        self._session = onnxruntime.InferenceSession(graph, sess_options, providers=["CPUExecutionProvider"])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def get_providers(self) -> list[str]:
        return [CUDA_PROVIDER]

    def run_with_iobinding(self, binding: Any) -> None:
        self._runtime.runs += 1
        if self._runtime.fails is not None:
            raise RuntimeError(self._runtime.fails)
        self._session.run_with_iobinding(binding)


@dataclass
class GpuStandIn:
    """Takes the place of the module onnxruntime. ``fails``: what every computation raises from now on."""

    fails: str | None = None
    runs: int = 0
    providers: list[Any] = field(default_factory=list)
    options: list[Any] = field(default_factory=list)
    devices: list[tuple[str, int]] = field(default_factory=list)

    SessionOptions = onnxruntime.SessionOptions

    @property
    def OrtValue(self) -> GpuStandIn:  # noqa: N802 - the module's name for it
        return self

    def ortvalue_from_numpy(self, values: Any, device: str, index: int) -> Any:
        self.devices.append((device, index))
        return onnxruntime.OrtValue.ortvalue_from_numpy(values.copy(), "cpu", 0)

    def ortvalue_from_shape_and_type(self, shape: list[int], kind: Any, device: str, index: int) -> Any:
        self.devices.append((device, index))
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, kind, "cpu", 0)

    def InferenceSession(  # noqa: N802 - the module's name for it
        self, graph: bytes, sess_options: Any, providers: list[Any], enable_fallback: int
    ) -> _Session:
        assert enable_fallback == 0
        if self.fails is not None:
            raise RuntimeError(self.fails)
        self.providers.append(providers)
        self.options.append(sess_options)
        return _Session(self, graph, sess_options)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> GpuStandIn:
    """A machine with one GPU, as far as the runtime can see."""
    runtime = GpuStandIn()
    for module in ("device.sessions", "search.device_search"):
        monkeypatch.setattr(f"diffcdr.{module}.onnx_runtime", lambda: runtime)
    for module in ("recommend.transfer", "search.placing"):
        monkeypatch.setattr(f"diffcdr.{module}.place", lambda device: Placement("cpu") if device == "cpu" else GPU)
    return runtime
